"""A training step: what the cache of latents is worth, and what saving memory costs.

The baseline is a loop as trainers for long videos write it: the VAE encodes every batch again, and every activation is
recomputed in the backward pass.

    python -m benchmarks.step
    python -m benchmarks.step --backbone cogvideox-1.5-5b --size true --compile
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import arguments, interleave, publish, ratios
from benchmarks.models import add_model_arguments, build
from vdmfewshot.backbones.objective import loss_per_sample
from vdmfewshot.clips.clip import Clip, ClipBatch, Pair, collate
from vdmfewshot.training.module import FewShotModule

BASELINE = "plain loop: VAE each step, full checkpointing"


def random_batch(shape: tuple[int, int, int], size: int) -> ClipBatch:
    """Clips of noise; speed does not depend on what they show."""
    frames, height, width = shape
    generator = torch.Generator().manual_seed(0)
    pair = Pair("noise", np.zeros((height, width, 3), np.uint8))
    videos = torch.rand(size, frames, 3, height, width, generator=generator) * 2 - 1
    return collate([Clip(video, pair, ordinal) for ordinal, video in enumerate(videos)])


def plain_losses(module: FewShotModule, batch: ClipBatch) -> Tensor:
    """The loss of one step with nothing remembered from the step before."""
    backbone = module.backbone
    latents = backbone.encode(batch.frames)
    x0 = latents.x0
    t = backbone.objective.timestep(torch.rand(len(x0)), x0.shape[1:]).to(x0.device)
    eps = torch.randn_like(x0)
    prediction = backbone.denoise(backbone.objective.corrupt(x0, eps, t), t, latents.condition)
    free = slice(backbone.given_latents, None)
    return loss_per_sample(prediction[:, free], backbone.objective.target(x0, eps, t)[:, free])


def step(
    module: FewShotModule, losses: Callable[[FewShotModule, ClipBatch], Tensor], batch: ClipBatch, recompute: bool,
    bf16: bool,
) -> Callable[[], None]:  # fmt: skip
    """One optimiser step on the adapter."""
    optimizer = module.configure_optimizers()

    def case() -> None:
        denoiser = module.backbone.denoiser
        (denoiser.enable_gradient_checkpointing if recompute else denoiser.disable_gradient_checkpointing)()
        with torch.autocast(module.device.type, torch.bfloat16, enabled=bf16):
            loss = losses(module, batch).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in module.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return case


def cases(args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """What is compared, by name; the baseline first."""
    module, cached = build(args), FewShotModule.losses
    batch = random_batch(args.shape, args.batch).to(module.device)
    rows = {
        BASELINE: step(module, plain_losses, batch, True, args.bf16),
        "VAE each step": step(module, plain_losses, batch, False, args.bf16),
        "cached, full checkpointing": step(module, cached, batch, True, args.bf16),
        "cached": step(module, cached, batch, False, args.bf16),
    }
    if args.bf16:
        rows["cached, no autocast"] = step(module, cached, batch, False, False)
    if args.compile:
        rows["cached, compiled"] = step(build(args, compile=True), cached, batch, False, args.bf16)
    return rows


def parser() -> argparse.ArgumentParser:
    """Options of the script."""
    options = arguments(__doc__ or "")
    add_model_arguments(options)
    options.add_argument("--batch", type=int, default=4, help="samples of a step")
    options.add_argument("--compile", action="store_true", help="add a case with compiled blocks")
    bf16 = torch.accelerator.is_available()
    options.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=bf16, help="autocast")
    return options


def main() -> None:
    """Time the cases, print and write them."""
    args = parser().parse_args()
    rows = ratios(interleave(cases(args), args.repeats), BASELINE)
    by_case = {row["case"]: row["times_faster"] for row in rows}
    publish("step", rows, args, cache_gain=by_case["cached"] / by_case["VAE each step"])


if __name__ == "__main__":
    main()
