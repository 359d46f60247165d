"""Input image → target image as a short clip: v_f = φ(x, y, f), arXiv 2506.07280, section 3."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vdmfewshot.defaults import TransitionName as TransitionName

#: side of the tile grid of ``tiles``: the papers' code swaps 4 x 4 squares
TILES = 4


def _progress(num_frames: int) -> Tensor:
    """α_f = (f - 1) / (F - 1) for f = 1 … F, shape (F, 1, 1, 1)."""
    return torch.linspace(0, 1, num_frames).view(-1, 1, 1, 1)


def _mix(x: Tensor, y: Tensor, alpha: Tensor) -> Tensor:
    """(1 - α) x + α y, which is exactly x where α is 0 and exactly y where α is 1."""
    return (1 - alpha) * x + alpha * y


def discrete(x: Tensor, y: Tensor, num_frames: int) -> Tensor:
    """v_f = x for f ≤ F / 2, y after (arXiv 2510.24448: avoids introducing any bias)."""
    f = torch.arange(1, num_frames + 1).view(-1, 1, 1, 1)
    return torch.where(f <= num_frames / 2, x, y)


def immediate(x: Tensor, y: Tensor, num_frames: int) -> Tensor:
    """v_1 = x, v_f = y after: no frame in between.

    With the fewest frames that a family takes, this is the one-frame mode: the video autoencoder makes one latent of
    the input and one of the target, and the latter is all that is generated.
    """
    f = torch.arange(1, num_frames + 1).view(-1, 1, 1, 1)
    return torch.where(f == 1, x, y)


def convex(x: Tensor, y: Tensor, num_frames: int) -> Tensor:
    """v_f = (1 - α_f) x + α_f y."""
    return _mix(x, y, _progress(num_frames))


def quadratic(x: Tensor, y: Tensor, num_frames: int) -> Tensor:
    """As ``convex`` with α²."""
    return _mix(x, y, _progress(num_frames) ** 2)


def square_root(x: Tensor, y: Tensor, num_frames: int) -> Tensor:
    """As ``convex`` with √α."""
    return _mix(x, y, _progress(num_frames).sqrt())


def tiles(x: Tensor, y: Tensor, num_frames: int) -> Tensor:
    """4 x 4 tiles change from x to y in one fixed shuffled order; ⌊16 f / (F - 1)⌋ of them by frame f = 0 … F - 1."""
    height, width = x.shape[-2:]
    order = torch.randperm(TILES * TILES, generator=torch.Generator().manual_seed(0)).argsort()
    rank = order.view(TILES, TILES)[torch.arange(height) * TILES // height][:, torch.arange(width) * TILES // width]
    swapped = torch.arange(num_frames) * TILES * TILES // (num_frames - 1)
    return torch.where(rank < swapped.view(-1, 1, 1, 1), y, x)


TRANSITIONS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "discrete": discrete,
    "immediate": immediate,
    "convex": convex,
    "quadratic": quadratic,
    "square_root": square_root,
    "tiles": tiles,
}


def transition(x: Tensor, y: Tensor, num_frames: int, name: TransitionName = "discrete") -> Tensor:
    """Build the transition clip of a pair.

    Args:
        x: (3, H, W) input image.
        y: (3, H, W) target image.
        num_frames: F ≥ 2, frames in the clip; frame 0 equals ``x`` and frame F - 1 equals ``y`` exactly.
        name: how one becomes the other.

    Returns:
        (F, 3, H, W), in the range of its inputs.

    Raises:
        ValueError: if F < 2, the shapes differ, or the name is unknown.
    """
    if num_frames < 2:
        raise ValueError(f"num_frames must be at least 2 for a transition, got {num_frames}")
    if x.shape != y.shape:
        raise ValueError(f"input and target must have one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    if name not in TRANSITIONS:
        raise ValueError(f"transition must be one of {', '.join(TRANSITIONS)}, got {name!r}")
    return TRANSITIONS[name](x, y, num_frames)


def still_frames(num_frames: int, name: TransitionName) -> int:
    """How many frames at the end of a clip show the target and nothing else, from 1 to F - 1."""
    black = torch.zeros(3, TILES, TILES)
    arrived = (transition(black, black + 1, num_frames, name) == 1).flatten(1).all(dim=1)
    return int(arrived.flip(0).long().cumprod(0).sum())
