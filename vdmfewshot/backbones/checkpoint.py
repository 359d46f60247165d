"""Where a backbone's files are: shipped with the package, in a folder, or on the hub. safetensors only."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import torch
from diffusers.utils import logging as diffusers_logging
from diffusers.utils.constants import HUGGINGFACE_CO_RESOLVE_ENDPOINT as ENDPOINT
from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
from torch import nn
from transformers.utils import logging as transformers_logging

from vdmfewshot.storage.documents import read_object
from vdmfewshot.storage.hub import bars_for_people, reachable

#: name of the model that ships with this package
EMBEDDED = "embedded"
#: bytes at each end of a file that name its content
END = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """A diffusers-layout checkpoint, by name.

    Attributes:
        path: ``embedded``, a folder, or a hub id ``owner/name``.
        revision: branch, tag or commit of a hub id.
    """

    path: str
    revision: str | None = None

    #: ``False`` for one that gives shapes instead of weights
    has_weights: ClassVar[bool] = True

    @cached_property
    def location(self) -> str:
        """Folder path, or the hub id itself.

        Raises:
            FileNotFoundError: if it is neither a folder nor of the form of a hub id.
        """
        if self.path == EMBEDDED:
            return str(files("vdmfewshot") / "backbones" / EMBEDDED)
        if Path(self.path).is_dir():
            return self.path
        if re.fullmatch(r"[\w.-]+/[\w.-]+", self.path) and not self.path.startswith("."):
            return self.path
        raise FileNotFoundError(
            f"backbone path must be 'embedded', an existing folder or a hub id 'owner/name', got {self.path!r}"
        )

    @property
    def folder(self) -> Path | None:
        """The local folder; ``None`` for a hub id."""
        return Path(self.location) if Path(self.location).is_dir() else None

    def local_folder(self, part: str) -> Path | None:
        """Where the files of a part are on this machine: in the folder, or in the hub's cache; ``None`` for nowhere."""
        if self.folder is not None:
            return self.folder / part
        found = try_to_load_from_cache(self.location, f"{part}/config.json", revision=self.revision)
        return Path(found).parent if isinstance(found, str) else None

    @cached_property
    def local_only(self) -> bool:
        """Whether a hub id can be read from the hub's cache on this machine and nowhere else."""
        return self.folder is None and (constants.HF_HUB_OFFLINE or not reachable(ENDPOINT))

    def digest(self) -> str:
        """Name the files by content, without reading all of them: SHA-256 (16 hex digits) of names, sizes and ends.

        A hub id is known by its name and revision alone.

        Raises:
            FileNotFoundError: see ``location``.
        """
        digest = hashlib.sha256(f"{self.revision}".encode() if self.folder else repr(self).encode())
        for file in sorted(self.folder.rglob("*") if self.folder else []):
            if file.suffix in (".safetensors", ".json"):
                size = file.stat().st_size
                digest.update(f"{file.relative_to(self.location).as_posix()} {size}".encode())
                with file.open("rb") as stream:
                    digest.update(stream.read(END))
                    stream.seek(max(0, size - END))
                    digest.update(stream.read())
        return digest.hexdigest()[:16]

    def config(self, part: str) -> dict[str, Any]:
        """Read ``<part>/config.json`` (or ``scheduler_config.json``), and nothing else.

        Args:
            part: a subfolder, or ``pipeline`` for ``model_index.json``, the pipeline's own settings.

        Raises:
            FileNotFoundError: naming the missing file or the unreachable hub id.
        """
        reader = READERS.get(part, ModelConfig)
        subfolder = "" if part == "pipeline" else part
        name = f"{subfolder}/{reader.config_name}".lstrip("/")
        if self.folder is not None:
            file = self.folder / name
            if not file.is_file():
                raise FileNotFoundError(f"{self.path!r} is not a diffusers checkpoint: {name} is missing")
            return read_object(file, {}, "download the checkpoint again")
        try:
            loaded = reader.load_config(
                self.location,
                subfolder=subfolder or None,
                revision=self.revision,
                local_files_only=self.local_only,
            )
        except OSError as error:
            raise FileNotFoundError(
                f"cannot read {name} of {self.path!r} from the hub (offline, misspelt or gated?); download it "
                f"where there is a network with `hf download {self.path}` or name a local folder. Cause: {error}"
            ) from error
        return dict(loaded)

    def model(self, cls: Any, part: str, dtype: torch.dtype) -> Any:
        """``cls.from_pretrained`` of one part, from safetensors files alone.

        Raises:
            FileNotFoundError: if there are no safetensors weights to read.
        """
        try:
            with no_bar_a_model():
                return cls.from_pretrained(
                    self.location,
                    subfolder=part,
                    revision=self.revision,
                    torch_dtype=dtype,
                    use_safetensors=True,
                    local_files_only=self.local_only,
                )
        except OSError as error:
            raise FileNotFoundError(f"cannot read safetensors weights of {part} from {self.path!r}: {error}") from error

    def processor(self, cls: Any, part: str) -> Any:
        """``cls.from_pretrained`` of a tokenizer or an image processor, which have no weights.

        Raises:
            FileNotFoundError: if it is not there or cannot be read.
        """
        try:
            place = self.location
            if self.local_only:  # transformers looks online for files that there need not be
                place = snapshot_download(place, revision=self.revision, local_files_only=True)
            return cls.from_pretrained(place, subfolder=part, revision=self.revision)
        except (OSError, ValueError, KeyError) as error:
            cause = next(iter(str(error).splitlines()), "")
            raise FileNotFoundError(
                f"cannot read {part} of {self.path!r}; download the whole checkpoint with `hf download {self.path}` or "
                f"name a local folder. Cause: {cause}"
            ) from error

    def scheduler(self, allowed: Sequence[str]) -> Any:
        """The checkpoint's own scheduler.

        Args:
            allowed: class names that the family uses.

        Raises:
            ValueError: if its class is not one of them.
        """
        config = self.config("scheduler")
        name = str(config.get("_class_name"))
        if name not in allowed:
            raise ValueError(f"scheduler must be one of {', '.join(allowed)}, got {name!r} in {self.path!r}")
        return getattr(diffusers, name).from_config(config)


@contextmanager
def no_bar_a_model() -> Iterator[None]:
    """Within, diffusers and transformers draw no bar for each model that they read; downloads keep theirs.

    Their switches are those of the process, and transformers' is that of downloads, too: all are put back.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    ours = [library for library in (diffusers_logging, transformers_logging) if library.is_progress_bar_enabled()]
    downloads = not are_progress_bars_disabled()
    for library in ours:
        library.disable_progress_bar()
    if downloads:
        enable_progress_bars()
    try:
        with bars_for_people():
            yield
    finally:
        for library in ours:
            library.enable_progress_bar()
        if not downloads:
            disable_progress_bars()


class ModelConfig(diffusers.ConfigMixin):  # type: ignore[misc]  # mypy skips diffusers
    """Reads a model's configuration from the hub without its class."""

    config_name = "config.json"


class SchedulerConfig(diffusers.ConfigMixin):  # type: ignore[misc]  # mypy skips diffusers
    """Reads a scheduler's configuration from the hub without its class."""

    config_name = "scheduler_config.json"


class PipelineConfig(diffusers.ConfigMixin):  # type: ignore[misc]  # mypy skips diffusers
    """Reads a pipeline's list of parts and settings from the hub without its class."""

    config_name = "model_index.json"


class GuiderConfig(diffusers.ConfigMixin):  # type: ignore[misc]  # mypy skips diffusers
    """Reads a guider's configuration from the hub without its class."""

    config_name = "guider_config.json"


READERS: dict[str, Any] = {"scheduler": SchedulerConfig, "pipeline": PipelineConfig, "guider": GuiderConfig}


def cast(model: Any, dtype: torch.dtype) -> Any:
    """Change the dtype of a diffusers model as ``from_pretrained`` does: modules that its class keeps in fp32 stay."""
    if not model._keep_in_fp32_modules:
        return nn.Module.to(model, dtype)  # diffusers' own advises from_pretrained, also with nothing to keep in fp32
    for name, parameter in model.named_parameters():
        if not is_kept(model, name):
            parameter.data = parameter.data.to(dtype)
    return model


def is_kept(model: Any, name: str) -> bool:
    """Whether the class of a diffusers model keeps the parameter of that name in fp32, whatever the dtype."""
    return any(module in name.split(".") for module in model._keep_in_fp32_modules or ())


def check_frames(num_frames: int, k: int, whose: str) -> None:
    """Refuse clips that a VAE which merges ``k`` frames after the first cannot encode.

    Raises:
        ValueError: naming the rule, the value and the nearest legal values; ``whose`` says whose rule it is.
    """
    if num_frames < k + 1 or (num_frames - 1) % k:
        lower = max(k + 1, (num_frames - 1) // k * k + 1)
        nearest = ", ".join(str(f) for f in sorted({lower, lower + k}))
        raise ValueError(f"num_frames must be {k}k+1 for {whose}, got {num_frames}; nearest: {nearest}")


def check_side(name: str, side: int, multiple: int, whose: str) -> None:
    """Refuse a height or width in pixels that latents and patches do not tile.

    Raises:
        ValueError: as ``check_frames``.
    """
    if side < multiple or side % multiple:
        lower = max(multiple, side // multiple * multiple)
        nearest = ", ".join(str(v) for v in sorted({lower, lower + multiple}))
        raise ValueError(f"{name} must be a multiple of {multiple} for {whose}, got {side}; nearest: {nearest}")


def check_fixed_shift(checkpoint: Checkpoint, whose: str) -> None:
    """Refuse schedulers that shift noise levels by the size of the clip.

    Raises:
        ValueError: naming setting and value; ``whose`` says whose rule it is.
    """
    if checkpoint.config("scheduler").get("use_dynamic_shifting"):
        raise ValueError(f"scheduler.use_dynamic_shifting must be False for {whose}, got True in {checkpoint.path!r}")


def fingerprint(model: nn.Module, config: dict[str, Any]) -> str:
    """Name weights by content: SHA-256 (16 hex digits) of config and of 16 values of every tensor, as bf16.

    Independent of file layout and of whether the model was loaded in fp32 or bf16, and quick for billions of weights.
    """
    plain = {k: v for k, v in config.items() if not k.startswith("_")}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        if not tensor.is_meta:
            flat = tensor.detach().flatten()
            stride = max(1, flat.numel() // 16)
            values = flat[::stride][:16].to("cpu", torch.bfloat16).float()
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]
