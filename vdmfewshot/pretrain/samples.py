"""Sample sheets: what the denoiser makes of first frames that it never saw, beside the real clips."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.drawing.canvas import Frame
from vdmfewshot.pretrain.corpus import clip, to_unit

VALIDATION_SEED = 998


def continuations(backbone: CogVideoX, clips: Frame, steps: int = 20) -> Frame:
    """Generate (B, 9, S, S, 3) uint8 clips from the first frames of real ones; noise is seeded by position."""
    first = to_unit(clips)[:, :, 0]
    generators = [torch.Generator().manual_seed(i) for i in range(len(clips))]
    frames = backbone.generate(first, clips.shape[1], generators, steps, guidance=1.0)
    return np.asarray(((frames.movedim(2, -1) + 1) * 127.5).round().to(torch.uint8).numpy())


def sheet(real: Frame, made: Frame, every: int = 2) -> Frame:
    """One row a clip: every second frame of the real clip, a white gap, the same frames of the generated one."""
    rows = []
    for a, b in zip(real, made, strict=True):
        gap = np.full((a.shape[1], 4, 3), 255, np.uint8)
        rows.append(np.concatenate([*a[::every], gap, *b[::every]], axis=1))
    return np.concatenate(rows)


def write_sheet(folder: Path, picture: Path, size: int = 64, count: int = 12, steps: int = 20) -> None:
    """Write a PNG of ``count`` validation clips.

    Args:
        folder: Pipeline folder in diffusers layout.
        picture: File to write.
        size: Side of the frames in pixels.
        count: Clips, drawn from the mixture with a seed that training does not use.
        steps: Sampling steps.
    """
    backbone = CogVideoX(str(folder))
    backbone.load()
    real = np.stack([clip(VALIDATION_SEED, i, size) for i in range(count)])
    picture.parent.mkdir(parents=True, exist_ok=True)
    rows = sheet(real, continuations(backbone, real, steps))
    if not cv2.imwrite(str(picture), cv2.cvtColor(rows, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {picture}")


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(write_sheet)
