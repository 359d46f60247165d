"""What a run costs, counted before any weight is read: FLOP, bytes and tokens of a backbone without weights.

The denoiser runs forward and backward on fake tensors of the device that will train, under its autocast; VAE and
condition run on the meta device. torch counts the FLOP, and we the bytes that are alive. Two models of one and of two
blocks tell the cost of all, since the blocks of a video transformer are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from vdmfewshot.backbones.base import Backbone, Latents
from vdmfewshot.backbones.skeleton import depth, skeleton
from vdmfewshot.budget.cost import Cost, Denoiser
from vdmfewshot.budget.live_bytes import LiveBytes
from vdmfewshot.budget.memory import recompute
from vdmfewshot.budget.valueless import Valueless
from vdmfewshot.lora.adapters import LoraArgs, inject
from vdmfewshot.training.remembered import recall, remember

ATEN = torch.ops.aten
#: torch counts the fused attention of GPUs but not that of CPUs; its functions have no types
FORWARD: Any
BACKWARD: Any
FORWARD, BACKWARD = sdpa_flop_count, sdpa_backward_flop_count
CPU_ATTENTION: dict[Any, Any] = {
    ATEN._scaled_dot_product_flash_attention_for_cpu: lambda *shapes, **_: FORWARD(*shapes[:3]),
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: lambda *shapes, **_: BACKWARD(*shapes[:4]),
}


@dataclass(frozen=True)
class _Block:
    """Video tokens of a clip, bytes of a block's results, bytes at the backward pass's peak beyond the activations."""

    tokens: int
    boundary: int
    working: int


def estimate(
    backbone: Backbone,
    clip: tuple[int, int, int],
    batch_size: int,
    lora: LoraArgs,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
) -> Cost:
    """Count what training an adapter on ``backbone``, and predicting with it, costs. Remembered between runs.

    Args:
        backbone: need not be loaded, and is not changed; only its configuration files are read.
        clip: (F, H, W).
        batch_size: clips of a training step on one device.
        lora: size and place of the adapter. Targets that name blocks by number are taken to be in every block.
        device: that trains; attention kernels and autocast are those of its type.
        autocast: dtype of mixed precision; ``None`` without it.
    """
    device, configs = torch.device(device), [backbone.checkpoint.config(part) for part in ("transformer", "vae")]
    settings = (type(backbone), backbone.checkpoint.path, backbone.dtype, backbone.memory.vae_tiling, configs)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""  # which decides about kernels
    key = repr((settings, clip, batch_size, lora, device, autocast, card))
    if key not in _estimates:
        precision = torch.autocast(device.type, autocast, enabled=autocast is not None)
        known = recall(key)
        _estimates[key] = known or _estimate(backbone, clip, _Step(batch_size, lora, device, precision))
        if known is None:
            remember(key, _estimates[key])
    return _estimates[key]


_estimates: dict[str, Cost] = {}


@dataclass(frozen=True)
class _Step:
    """What a training step is made of."""

    batch_size: int
    lora: LoraArgs
    device: torch.device
    precision: AbstractContextManager[Any]


def _estimate(backbone: Backbone, clip: tuple[int, int, int], step: _Step) -> Cost:
    blocks, one = depth(backbone), skeleton(backbone, 1)
    latents, encode, _ = _count(lambda: one.encode(torch.empty(1, clip[0], 3, *clip[1:], device="meta")))
    x0 = latents.x0[:, -((clip[0] - 1) // _temporal_stride(one) + 1) :].to(one.dtype)  # without padding
    decode, decoding = _decode(skeleton(backbone, 1), x0, step.device)
    shallow, _ = _train(one, latents, step)
    deep, seen = _train(skeleton(backbone, 2), latents, step)
    again = skeleton(backbone, 2)
    recompute(again.denoiser, again.blocks)
    block = deep - shallow
    kept, peak = _train(again, latents, step, count=False)
    left = deep.activations - 2 * (block.activations - seen.boundary)
    return Cost(
        tokens=seen.tokens,
        batch_size=step.batch_size,
        blocks=blocks,
        total=shallow.plus(block, blocks - 1),
        block=block,
        boundary=seen.boundary,
        working=seen.working,
        recomputing=kept.activations + peak.working - left,
        encode=encode,
        decode=decode,
        decoding=decoding,
        encoders=sum(t.nbytes for module in one.encoders for t in module.state_dict().values()),
        itemsize=one.dtype.itemsize,
    )


def _temporal_stride(backbone: Backbone) -> int:
    """Frames per latent frame, by the name that the family's pipeline gives it."""
    pipeline = backbone.pipeline
    names = ("vae_scale_factor_temporal", "vae_temporal_compression_ratio")
    return next(int(getattr(pipeline, name)) for name in names if hasattr(pipeline, name))


def _decode(backbone: Backbone, x0: Tensor, device: torch.device) -> tuple[float, float]:
    """FLOP and peak bytes of decoding, on fake tensors: a decoder may switch autocast off, which meta has none of."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    weights = _to_fake(backbone, mode, device)
    with mode:
        latents = torch.empty(x0.shape, dtype=x0.dtype, device=device)
        _, flop, peak = _count(lambda: backbone.decode(latents, [torch.Generator()]), weights)
    return flop, peak


def _count(run: Callable[[], Any], weights: Sequence[Tensor] = ()) -> tuple[Any, float, float]:
    """Result, FLOP and peak bytes of ``run`` without gradients."""
    flop = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    with torch.no_grad(), flop, LiveBytes(weights) as live:
        result = run()
    return result, float(flop.get_total_flops()), float(live.peak)


def _train(backbone: Backbone, latents: Latents, step: _Step, count: bool = True) -> tuple[Denoiser, _Block]:
    """Cost of one training step at this depth, and what only one block can tell.

    ``count`` FLOP, which keeps recomputed activations alive: torch's counter holds on to what modules give.
    """
    with torch.device("meta"):
        _inject(backbone, step.lora)
    mode, sizes = FakeTensorMode(allow_non_fake_inputs=True), list[tuple[int, int]]()

    def note(module: nn.Module, args: Any, output: Any) -> None:
        sizes[:] = [(int(leaf.shape[1]), leaf.nbytes) for leaf in tree_leaves(output)]

    backbone.blocks[-1].register_forward_hook(note)
    weights = _to_fake(backbone, mode, step.device)
    flop = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    with mode, flop if count else nullcontext(), LiveBytes(weights) as live:
        t = torch.tensor([500.0] * step.batch_size, device=step.device)
        x_t, condition = _inputs(latents, step.batch_size, step.device)
        with step.precision, Valueless():
            prediction = backbone.denoise(x_t, t, condition)
            loss = prediction.float().square().mean()
        forward, activations = flop.get_total_flops(), live.alive
        block = _Block(sizes[0][0], sum(nbytes for _, nbytes in sizes), 0)
        del prediction
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    modules = [module for denoiser in backbone.denoisers for module in denoiser.modules()]
    linear = [m.weight for m in modules if isinstance(m, nn.Linear) and not m.weight.requires_grad]
    parameters = [p for denoiser in backbone.denoisers for p in denoiser.parameters()]
    cost = Denoiser(
        forward=forward,
        backward=flop.get_total_flops() - forward,
        frozen=sum(p.nbytes for p in parameters if not p.requires_grad),
        linear=sum(weight.nbytes for weight in linear),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        activations=activations,
    )
    # The gradients of the adapter are alive at the end; they are counted with the adapter.
    return cost, replace(block, working=max(0, live.peak - activations - 4 * int(cost.trainable)))


def _inject(backbone: Backbone, lora: LoraArgs) -> None:
    try:
        inject(backbone.denoiser, lora, backbone.lora_targets, seed=0)
    except ValueError:  # targets that name blocks deeper than these
        backbone.denoiser._hf_peft_config_loaded = False  # diffusers sets it before it fails
        inject(backbone.denoiser, replace(lora, targets=None), backbone.lora_targets, seed=0)


def _to_fake(backbone: Backbone, mode: FakeTensorMode, device: torch.device) -> list[Tensor]:
    """Make all tensors of a backbone on the meta device fake ones on ``device``; gives them."""
    made: list[Tensor] = []
    for module in backbone.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = nn.Parameter(FakeTensor(mode, p.detach(), device), p.requires_grad)
                made.append(module._parameters[name])  # type: ignore[arg-type]  # it is not None
        for name, b in module._buffers.items():
            if b is not None:
                module._buffers[name] = FakeTensor(mode, b.to("meta"), device)
                made.append(module._buffers[name])  # type: ignore[arg-type]  # it is not None
    return made


def _inputs(latents: Latents, batch_size: int, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
    """Empty latents and condition of a batch, of the shapes of one sample's."""
    shapes = {"": latents.x0, **latents.condition}
    batch = {k: torch.empty(batch_size, *v.shape[1:], dtype=v.dtype, device=device) for k, v in shapes.items()}
    return batch.pop(""), batch
