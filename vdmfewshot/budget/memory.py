"""How a frozen model is made to fit: what costs time to save memory, and how much of it a run needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import psutil
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from vdmfewshot.budget.cost import Cost

Quantization = Literal["none", "fp8", "int8", "nf4"]
#: bytes of a weight of a linear layer; nf4 has an fp32 scale per 64 weights, itself stored in 8 bits
WEIGHT_BYTES = {"fp8": 1.0, "int8": 1.0, "nf4": 0.516}
#: the library that quantises
LIBRARIES = {"int8": "torchao", "nf4": "bitsandbytes"}
#: share of free memory that a prediction may fill; the allocator's fragments take the rest
MARGIN = 0.9
#: On a CPU the C library keeps what is freed for later: a process grows by so many times the activations of training,
#: and the tensors of decoding, beyond these themselves. Measured with glibc on the embedded model, where it was 1 to 2
#: by what the process had done before; tensors alone are predicted well (tests/budget/test_peak.py). Returning memory
#: at once would close the gap, and make steps 1.7 times as long.
KEPT_TRAINING, KEPT_PREDICTING = 1.5, 1.0


@dataclass(frozen=True)
class MemoryArgs:
    """What may cost time to save memory.

    Args:
        checkpointing: blocks whose activations the backward pass recomputes: none, a share, or all (half as long
            again). auto: as few as fit.
        recompute: share of the blocks that segmented checkpointing recomputes, in (0, 1].
        quantization: storage of the frozen linear layers; int8 and nf4 need pip install 'vdmfewshot[quant]'. auto:
            none, or fp8 on an accelerator if full checkpointing does not fit.
        offload: group: frozen linear layers stay in the machine's memory and visit the accelerator one by one. auto:
            none, or group on an accelerator if fp8 does not fit either.
        vae_tiling: encode and decode in tiles, for frames that do not fit otherwise.
    """

    checkpointing: Literal["auto", "none", "segmented", "full"] = "auto"
    recompute: float = 0.5
    quantization: Literal["auto", "none", "fp8", "int8", "nf4"] = "auto"
    offload: Literal["auto", "none", "group"] = "auto"
    vae_tiling: bool = False

    def __post_init__(self) -> None:
        """Check ranges, and that the library of an explicit quantisation is installed.

        Raises:
            ValueError: naming rule and value.
        """
        if not 0 < self.recompute <= 1:
            raise ValueError(f"memory.recompute must be in (0, 1], got {self.recompute}")
        library = LIBRARIES.get(self.quantization)
        if library is not None and importlib.util.find_spec(library) is None:
            raise ValueError(
                f"memory.quantization={self.quantization} needs {library}, which is not installed; "
                "pip install 'vdmfewshot[quant]', or use fp8, which needs nothing"
            )

    def recomputed(self, blocks: int) -> int:
        """How many of a denoiser's ``blocks`` are recomputed; none while ``auto`` is not decided."""
        share = {"segmented": self.recompute, "full": 1.0}.get(self.checkpointing, 0.0)
        return max(1, round(share * blocks)) if share else 0


@dataclass(frozen=True)
class Plan:
    """What was chosen, why, and what it should take.

    Attributes:
        memory: the choice, without ``auto``.
        reason: one sentence.
        training: predicted bytes at the peak of a training step.
        predicting: predicted bytes at the peak of a prediction.
        kept: bytes that the allocator of a CPU keeps beyond those; 0 on an accelerator.
        free: bytes that were free before the run.
    """

    memory: MemoryArgs
    reason: str
    training: float
    predicting: float
    kept: float
    free: float

    @property
    def process(self) -> float:
        """Bytes by which a training process grows."""
        return self.training + self.kept


def decide(
    cost: Cost, args: MemoryArgs, free: float, device: torch.device, eval_batch_size: int = 1, training: bool = True
) -> Plan:
    """Choose the fastest way to fit: nothing, recomputed blocks (as few as possible), fp8, offload, in this order.

    A pure function. What ``args`` fixes stays; if nothing fits, the smallest is chosen, and ``reason`` says so.

    Args:
        cost: of the run.
        args: what the user allows.
        free: bytes on the device before weights are read.
        device: that trains.
        eval_batch_size: clips of a prediction.
        training: whether the run trains, and does not only predict.

    Raises:
        ValueError: for offload without an accelerator.
    """
    if args.offload == "group" and device.type == "cpu":
        raise ValueError("memory.offload=group needs an accelerator, got a run on the CPU; use memory.offload=none")
    if not training:  # nothing is recomputed then
        args = replace(args, checkpointing="full")
    plans = []
    for memory in _choices(args, cost.blocks, device):
        sizes = (_training(cost, memory, device), _predicting(cost, memory, eval_batch_size))
        kept = 0.0
        if device.type == "cpu":
            again = KEPT_TRAINING * cost.activations(memory.recomputed(cost.blocks))
            kept = again if training else KEPT_PREDICTING * eval_batch_size * cost.decoding
        plan = Plan(memory, "", *sizes, kept, free)
        plans.append(plan)
        needed = kept + (plan.training if training else plan.predicting)
        if needed <= MARGIN * free:
            break
    fits = needed <= MARGIN * free
    reason = f"needs {needed / 1e9:.1f} of {free / 1e9:.1f} GB"
    if not fits:
        reason += ", which is too much; nothing smaller is allowed here, so expect a failure"
    elif len(plans) > 1:
        before = plans[-2].kept + (plans[-2].training if training else plans[-2].predicting)
        reason += f"; with one measure less it would be {before / 1e9:.1f} GB"
    return replace(plan, reason=reason)


def _choices(args: MemoryArgs, blocks: int, device: torch.device) -> Iterator[MemoryArgs]:
    """From fast and large to slow and small."""
    memory = replace(
        args,
        checkpointing="none" if args.checkpointing == "auto" else args.checkpointing,
        quantization="none" if args.quantization == "auto" else args.quantization,
        offload="none" if args.offload == "auto" else args.offload,
    )
    yield memory
    if args.checkpointing == "auto":
        for n in range(1, blocks):
            yield replace(memory, checkpointing="segmented", recompute=n / blocks)
        memory = replace(memory, checkpointing="full")
        yield memory
    # Both keep what they fetched for the backward pass, and save little unless all blocks are recomputed.
    if device.type == "cpu" or memory.checkpointing != "full":
        return
    if args.quantization == "auto":
        memory = replace(memory, quantization="fp8")
        yield memory
    if args.offload == "auto":
        yield replace(memory, offload="group")


def _training(cost: Cost, memory: MemoryArgs, device: torch.device) -> float:
    recomputed = memory.recomputed(cost.blocks)
    # A fetched or upcast copy lives until the backward pass has used it; recomputed blocks fetch one at a time.
    weights = _weights(cost, memory, copies=max(1, cost.blocks - recomputed))
    encoders = cost.encoders if device.type == "cpu" else 0  # elsewhere they wait in the machine's memory
    return weights + encoders + cost.adapter + cost.activations(recomputed)


def _predicting(cost: Cost, memory: MemoryArgs, batch_size: int) -> float:
    return _weights(cost, memory, copies=1) + cost.encoders + cost.adapter + batch_size * cost.decoding


def _weights(cost: Cost, memory: MemoryArgs, copies: int) -> float:
    """Bytes of the frozen denoiser; ``copies`` blocks have their linear layers in full precision on the device."""
    if memory.offload == "none" and memory.quantization in ("auto", "none"):
        return cost.total.frozen
    stored = 0.0 if memory.offload == "group" else WEIGHT_BYTES[memory.quantization] / cost.itemsize
    return cost.total.frozen - (1 - stored) * cost.total.linear + copies * cost.block.linear


def free_bytes(device: torch.device) -> float:
    """Bytes that are free on ``device``."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


# -- what the choices do to a model -----------------------------------------------------------------------------------


def apply(memory: MemoryArgs, denoiser: Any, blocks: nn.ModuleList) -> None:
    """Quantise, checkpoint and offload a loaded, frozen denoiser with these repeated blocks, before it is adapted."""
    recompute(denoiser, blocks[: memory.recomputed(len(blocks))])
    if memory.quantization == "fp8":
        denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=denoiser.dtype)
    elif memory.quantization == "int8":
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(blocks, Int8WeightOnlyConfig())
    elif memory.quantization == "nf4":
        _nf4(blocks, denoiser.dtype)
    if memory.offload == "group":
        offload(denoiser, torch.device(torch.accelerator.current_accelerator() or "cpu"))


def recompute(denoiser: Any, blocks: Iterable[nn.Module]) -> None:
    """Checkpoint these blocks, the first ones, through diffusers' own switch.

    The first and not every k-th: when they are recomputed, the activations of the last ones are gone already.
    """
    chosen = {id(block) for block in blocks}

    def run(block: nn.Module, *args: Any) -> Any:
        return checkpoint(block, *args, use_reentrant=False) if id(block) in chosen else block(*args)

    if chosen:
        denoiser.enable_gradient_checkpointing(run)


def _nf4(blocks: nn.Module, dtype: torch.dtype) -> None:
    """Replace linear layers by bitsandbytes' 4-bit ones (Dettmers et al. 2023); moving them to a device quantises."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, linear in [(n, m) for n, m in blocks.named_modules() if isinstance(m, nn.Linear)]:
        layer = Linear4bit(linear.in_features, linear.out_features, compute_dtype=dtype, quant_type="nf4")
        layer.weight = Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
        layer.bias = linear.bias
        blocks.set_submodule(name, layer.to(linear.weight.device))


def offload(denoiser: Any, device: torch.device) -> None:
    """Keep frozen weights in the machine's memory; diffusers moves each layer's to ``device`` while it works.

    Without streams: those prefetch in the order of the forward pass, which recomputation does not follow.
    """
    denoiser.enable_group_offload(onload_device=device, offload_type="leaf_level", use_stream=False)


@contextmanager
def in_place(denoisers: Iterable[nn.Module]) -> Iterator[None]:
    """Hide the frozen parameters of offloaded denoisers, so that moving the model moves adapters and the rest."""
    modules = [module for denoiser in denoisers for module in denoiser.modules()]
    hidden = [
        (m, m._parameters)
        for m in modules
        if not any(p is not None and p.requires_grad for p in m._parameters.values())
    ]
    for module, parameters in hidden:
        module._parameters = dict.fromkeys(parameters)
    try:
        yield
    finally:
        for module, parameters in hidden:
            module._parameters = parameters


def upcast(denoiser: Any) -> None:
    """Give fp8 layers their compute dtype until the next forward pass: adapters that are loaded take it over."""
    for module in denoiser.modules():
        if isinstance(module, nn.Linear) and module.weight.dtype == torch.float8_e4m3fn:
            module.to(denoiser.dtype)
