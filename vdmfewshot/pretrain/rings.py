"""Clips in device memory: the last few thousand that were rendered, each drawn several times and changed every time."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from vdmfewshot.drawing.canvas import NUM_FRAMES, Frame
from vdmfewshot.pretrain.renderers import BLOCK

PERMUTATIONS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


class ClipRing:
    """The last ``capacity`` clips of one size, uint8 on a device."""

    def __init__(self, size: int, capacity: int, device: torch.device) -> None:
        """Reserve memory, half as much as often as there is too little."""
        self.size, self.filled, self.next = size, 0, 0
        capacity = max(1, capacity // BLOCK) * BLOCK
        while True:
            try:
                self.clips = torch.empty(capacity, NUM_FRAMES, size, size, 3, dtype=torch.uint8, device=device)
                break
            except torch.OutOfMemoryError:
                capacity = max(1, capacity // (2 * BLOCK)) * BLOCK

    def add(self, block: Frame) -> None:
        """Put a block of clips (16, 9, S, S, 3) in the place of the oldest, without waiting for the device."""
        clips = torch.from_numpy(block)
        if self.clips.is_cuda:
            clips = clips.pin_memory()
        self.clips[self.next : self.next + BLOCK].copy_(clips, non_blocking=True)
        self.next = (self.next + BLOCK) % len(self.clips)
        self.filled = min(self.filled + BLOCK, len(self.clips))

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """``count`` random clips, with replacement, as (count, 3, 9, S, S) float32 in -1..1."""
        device = self.clips.device
        rows = torch.randint(self.filled, (count,), generator=rng, device=device)
        return self.clips[rows].permute(0, 4, 1, 2, 3).float() / 127.5 - 1


@functools.cache
def _permutations(device: torch.device) -> Tensor:
    return torch.tensor(PERMUTATIONS, device=device)


def _chosen(count: int, share: float, rng: torch.Generator) -> Tensor:
    """Booleans (count, 1, 1, 1, 1), true for about ``share`` of them."""
    return torch.rand(count, 1, 1, 1, 1, generator=rng, device=rng.device) < share


def augmented(clips: Tensor, rng: torch.Generator, video: bool = True) -> Tensor:
    """Another clip that could have been filmed: one change for all frames of (B, 3, 9, S, S), or time run backwards.

    Frames are mirrored, turned upside down, transposed, enlarged; their colour channels are swapped and inverted. Since
    all frames of a clip change alike, no clip comes to show a mirror image, a turn or a negative of its first frame.

    Args:
        clips: In -1..1.
        rng: On their device.
        video: Whether time may run backwards and frames may be enlarged; the rule of a task would be another one then.
    """
    count = len(clips)
    clips = torch.where(_chosen(count, 0.5, rng), clips.flip(-1), clips)
    clips = torch.where(_chosen(count, 0.25, rng), clips.flip(-2), clips)
    clips = torch.where(_chosen(count, 0.25, rng), clips.transpose(-1, -2), clips)
    if video:
        clips = torch.where(_chosen(count, 0.35, rng), clips.flip(2), clips)
    clips = torch.where(_chosen(count, 0.1, rng), -clips, clips)
    orders = _permutations(rng.device)
    order = orders[torch.randint(len(PERMUTATIONS), (count,), generator=rng, device=rng.device)]
    clips = clips.gather(1, order[:, :, None, None, None].expand_as(clips))
    return _enlarged(clips, 0.2, rng) if video else clips


def _enlarged(clips: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """A share of the clips is cut to a random square of 60 to 100 % of its side and scaled up."""
    few = round(share * len(clips))
    if not few:
        return clips
    frames = clips[:few].transpose(1, 2).flatten(0, 1)
    draws = torch.rand(few, 3, generator=rng, device=rng.device)
    scale = 0.6 + 0.4 * draws[:, 0]
    theta = clips.new_zeros(few, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = (1 - scale)[:, None] * (2 * draws[:, 1:] - 1)
    theta = theta.repeat_interleave(clips.shape[2], 0)
    grid = F.affine_grid(theta, list(frames.shape), align_corners=False)
    zoomed = F.grid_sample(frames, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.cat([zoomed.view(few, -1, *zoomed.shape[1:]).transpose(1, 2), clips[few:]])


def time_lapse(clips: Tensor) -> Tensor:
    """First frame, then the last one four times, (B, 3, 5, S, S): the clip of the one-frame mode."""
    return torch.cat([clips[:, :, :1], clips[:, :, -1:].expand(-1, -1, 4, -1, -1)], 2)
