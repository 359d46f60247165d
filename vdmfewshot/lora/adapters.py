"""LoRA through peft: inject it, read it from a folder, and refuse what does not fit (writing: ``export``)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners import lora
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vdmfewshot.clips.rng import derive_seed
from vdmfewshot.storage.documents import NUMBER, Kind, damaged, misfit, plain, read_object
from vdmfewshot.storage.tensors import is_finite

ADAPTER = "default"
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"  # where diffusers' ``load_lora_weights`` looks
MANIFEST_FILE = "vdmfewshot.json"
PREFIX = "transformer."
REMEDY = "export the adapter again, or get another copy of its folder"
#: what a manifest must hold to be compared with a run: fields of itself, then of its parts
MANIFEST_FIELDS: dict[str, dict[str, Kind]] = {
    "": {"backbone": dict, "codec": dict, "clip": dict, "task": str, "weights_sha256": str},
    "backbone": {"path": str, "fingerprint": str},
    "codec": {"name": str, "hash": str, "spec": object},
    "clip": {"num_frames": int, "height": int, "width": int, "transition": str},
}


@dataclass(frozen=True)
class LoraArgs:
    """Size and place of the adapter (arXiv 2510.24448, table 5 uses rank 64).

    Args:
        rank: rank r of each pair of matrices A (r, in) and B (out, r).
        alpha: output scale: the update is (alpha / rank) B A.
        dropout: probability of zeroing an adapter input in training, in [0, 1).
        targets: modules to adapt: a regular expression on their full names or a list of name endings; default: the
            backbone's.
    """

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: str | list[str] | None = None

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: naming rule and value.
        """
        if self.rank < 1:
            raise ValueError(f"lora.rank must be at least 1, got {self.rank}")
        if self.alpha <= 0:
            raise ValueError(f"lora.alpha must be positive, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"lora.dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True)
class Manifest:
    """What an adapter was trained on and for; lies beside the weights as ``vdmfewshot.json``.

    Attributes:
        backbone: ``path``, ``family`` and content ``fingerprint`` of the frozen model.
        codec: ``name``, ``version``, ``spec`` and ``hash`` of the codec whose frames it draws.
        clip: ``num_frames``, ``height``, ``width`` and ``transition``.
        task: name of the task.
        weights_sha256: of the diffusers-format file.
        sampling: how it was scored, as arguments of ``SamplingArgs``; empty if unknown.
        seed: of its noise.
        format: version of this file.
    """

    backbone: dict[str, Any]
    codec: dict[str, Any]
    clip: dict[str, Any]
    task: str
    weights_sha256: str = ""
    sampling: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    format: int = 1


def inject(model: Any, args: LoraArgs, targets: str, seed: int) -> None:
    """Add an untrained adapter (B = 0) to a diffusers model, in fp32 whatever the dtype of the frozen weights.

    Args:
        model: a diffusers model with ``PeftAdapterMixin``.
        args: size and place.
        targets: the backbone's default, used when ``args.targets`` is ``None``.
        seed: of the run; A is a pure function of it.

    Raises:
        ValueError: if ``targets`` matches no module, or the model has an adapter already.
    """
    if ADAPTER in getattr(model, "peft_config", {}):
        raise ValueError("this backbone carries an adapter of another run: make a new backbone for each run")
    modules = args.targets or targets
    config = LoraConfig(r=args.rank, lora_alpha=args.alpha, lora_dropout=args.dropout, target_modules=modules)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "lora"))
        try:
            model.add_adapter(config, ADAPTER)
        except ValueError as error:
            linear = sorted({n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)})
            raise ValueError(
                f"lora.targets must match modules of the denoiser, got {config.target_modules!r}; "
                f"its linear modules end in {', '.join(linear)}. {error}"
            ) from error
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.float()


@contextmanager
def merged(model: Any, merge: bool = True) -> Iterator[bool]:
    """Within the context the adapter is part of the weights, which saves each forward pass its two small products.

    peft adds it to a copy; afterwards the very tensors from before are back, also after an exception. (peft's own
    ``unmerge`` subtracts, which loses bits.) The copy needs as much memory as the adapted weights. The output is equal
    to rounding: 3e-7 in fp32; bf16 weights are rounded once more, which adds 1 % to the error that bf16 has already
    (embedded model, relative to fp32: 6.6e-3 either way).

    Args:
        model: with an injected adapter.
        merge: ``False`` does nothing; nor are quantised, sharded and offloaded weights merged.

    Yields:
        whether the adapter is merged.
    """
    layers = [m for m in model.modules() if isinstance(m, lora.LoraLayer)]
    if not merge or not all(map(_plain, layers)) or any(map(_hooked, model.modules())):
        yield False
        return
    frozen = [layer.base_layer.weight for layer in layers]
    try:
        for layer, weight in zip(layers, frozen, strict=True):
            layer.base_layer.weight = torch.nn.Parameter(weight.detach().clone(), requires_grad=False)
            layer.merge(adapter_names=[ADAPTER])
        yield True
    finally:
        for layer, weight in zip(layers, frozen, strict=True):
            layer.base_layer.weight = weight
            layer.merged_adapters.clear()


def _plain(layer: Any) -> bool:
    """Whether a layer's weight is a whole ordinary matrix with one adapter: no quantised type, no shard, no stack."""
    weight = getattr(layer.base_layer, "weight", None)
    whole = (getattr(layer.base_layer, "out_features", None), getattr(layer.base_layer, "in_features", None))
    single = type(layer.lora_A[ADAPTER]) is torch.nn.Linear if ADAPTER in layer.lora_A else False
    return single and type(layer) is lora.Linear and type(weight) is torch.nn.Parameter and tuple(weight.shape) == whole


def _hooked(module: torch.nn.Module) -> bool:
    """Whether accelerate or diffusers move or cast the module's weights while it runs."""
    return hasattr(module, "_hf_hook") or bool(getattr(getattr(module, "_diffusers_hook", None), "hooks", None))


def adapter_state(model: Any) -> dict[str, Tensor]:
    """The adapter's tensors by peft name (``transformer_blocks.0.attn1.to_q.lora_A.weight``), on the CPU."""
    state = get_peft_model_state_dict(model, adapter_name=ADAPTER)
    return {k.replace("_orig_mod.", ""): v.detach().cpu().contiguous() for k, v in state.items()}


def peft_config(model: Any) -> dict[str, Any]:
    """The adapter's ``LoraConfig`` as plain JSON values."""
    config = {k: sorted(v) if isinstance(v, set) else v for k, v in model.peft_config[ADAPTER].to_dict().items()}
    values: dict[str, Any] = plain(config)
    return values


def read_adapter(folder: Path) -> tuple[dict[str, Tensor], Manifest | None]:
    """Tensors (peft names) and manifest of a saved adapter; the manifest is ``None`` for one made elsewhere.

    Raises:
        FileNotFoundError: if there is no such folder or no weights in it.
        ValueError: if the file is empty, damaged, not a LoRA, or does not match its checksum.
    """
    require_adapter(folder)
    file = folder / DIFFUSERS_FILE
    manifest = None
    if (folder / MANIFEST_FILE).is_file():
        manifest = _read_manifest(folder / MANIFEST_FILE)
        if sha256(file) != manifest.weights_sha256:
            raise ValueError(f"adapter {file} is damaged: its SHA-256 is not the one in {MANIFEST_FILE}")
    try:
        state = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"adapter {file} is not a readable safetensors file: {error}") from error
    if not state:
        raise ValueError(f"adapter {file} is empty")
    return {k.removeprefix(PREFIX): v for k, v in state.items()}, manifest


def require_adapter(folder: Path) -> None:
    """Raise FileNotFoundError if a folder holds no adapter."""
    if not (folder / DIFFUSERS_FILE).is_file():
        raise FileNotFoundError(f"no adapter at {folder}: {DIFFUSERS_FILE} is missing")


def _read_manifest(file: Path) -> Manifest:
    content = read_object(file, {"format": int}, REMEDY)
    if content["format"] != Manifest.format:
        raise ValueError(f"{file} has format {content['format']!r}, this version reads {Manifest.format}")
    if problem := _manifest_problem(content):
        raise damaged(file, problem, REMEDY)
    return Manifest(**content)


def _manifest_problem(content: Mapping[str, Any]) -> str:
    if strange := sorted(content.keys() - {field.name for field in fields(Manifest)}):
        return f"{strange[0]} is unknown"
    for part, wanted in MANIFEST_FIELDS.items():
        if problem := misfit(content[part] if part else content, wanted):
            return f"{part}: {problem}" if part else problem
    return ""


def load_adapter(folder: Path, model: Any, base: str, codec_hash: str | None = None) -> Manifest | None:
    """Fill an injected adapter from a folder, or refuse.

    Args:
        folder: as written by ``save_adapter`` or any diffusers-format LoRA.
        model: denoiser with an adapter of the same rank and targets.
        base: fingerprint of the frozen denoiser.
        codec_hash: of the codec that will read the frames; checked if both sides know it.

    Raises:
        FileNotFoundError: if there is no adapter.
        ValueError: for another base, codec, rank, alpha or set of modules, or an adapter that does nothing.
    """
    state, manifest = read_adapter(folder)
    if manifest is not None and manifest.backbone["fingerprint"] != base:
        raise ValueError(
            f"adapter {folder} was trained on another backbone: {manifest.backbone['path']!r} with fingerprint "
            f"{manifest.backbone['fingerprint']}, not {base}; load that backbone instead"
        )
    if manifest is not None and codec_hash is not None and manifest.codec["hash"] != codec_hash:
        raise ValueError(
            f"adapter {folder} draws with codec {manifest.codec['name']} {manifest.codec['spec']}, which is not the "
            "codec of this data module; use the data settings that it was trained with"
        )
    check_state(state, adapter_state(model), str(folder))
    _check_alpha(folder, model)
    set_peft_model_state_dict(model, state, adapter_name=ADAPTER)
    return manifest


def check_state(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Compare names and shapes of adapter tensors; every one must be used.

    Raises:
        ValueError: listing missing and unexpected names, a wrong shape or what is not finite; or if all B are zero.
    """
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        raise ValueError(
            f"adapter {where} does not fit lora.targets: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}"
        )
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise ValueError(
                f"adapter {where} has another rank or base: {name} is {tuple(found[name].shape)}, "
                f"expected {tuple(tensor.shape)}; set lora.rank to the rank it was trained with"
            )
    spoilt = [name for name, tensor in found.items() if not is_finite(tensor)]
    if spoilt:
        raise ValueError(f"adapter {where} holds NaN or infinity in {len(spoilt)} tensors ({spoilt[0]}, ...)")
    if not any(v.any() for k, v in found.items() if "lora_B" in k):
        raise ValueError(f"adapter {where} is untrained: every lora_B is zero, so that it would have no effect")


def _check_alpha(folder: Path, model: Any) -> None:
    """Other tools lose alpha and then scale wrongly; we compare it where it is known."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        return
    saved = read_object(file, {"lora_alpha": NUMBER}, REMEDY)["lora_alpha"]
    ours = peft_config(model)["lora_alpha"]
    if saved != ours:
        raise ValueError(f"adapter {folder} was trained with lora.alpha {saved}, got {ours}; set lora.alpha={saved}")


def sha256(file: Path) -> str:
    """Hex SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
