"""The pretraining corpus: 9-frame clips from many procedural sources, a pure function of (seed, index, size).

Everything in it is video: things that move, change and are filmed. By the project's honesty rule no clip shows an
evaluation task (no image-to-mask, image-to-skeleton or image-to-edge change, no full-frame mirror or quarter turn,
no puzzle) and none uses an evaluation image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from vdmfewshot.drawing.canvas import NUM_FRAMES, Frame, Rng
from vdmfewshot.pretrain.sources import camera, cuts, editors, games, grids, light, shapes, walkers

Source = Callable[[Rng, int], Frame]

SOURCES: dict[str, tuple[Source, float]] = {
    "moving_shapes": (shapes.moving_shapes, 1.5),
    "flat_shapes": (shapes.flat_shapes, 1.2),
    "occluder": (shapes.occluder, 0.6),
    "collisions": (shapes.collisions, 0.4),
    "moving_camera": (camera.moving_camera, 1.2),
    "spinning_camera": (camera.spinning_camera, 0.5),
    "swinging_plane": (camera.swinging_plane, 0.5),
    "parallax": (camera.parallax, 0.3),
    "standing_still": (camera.standing_still, 1.0),
    "water": (camera.water, 0.4),
    "lighting": (light.lighting, 0.7),
    "fade": (light.fade, 0.4),
    "shadow_play": (light.shadow_play, 0.8),
    "cartoon": (light.cartoon, 0.4),
    "cells": (light.cells, 0.5),
    "shot_change": (cuts.shot_change, 0.7),
    "time_skip": (cuts.time_skip, 1.3),
    "regrade": (cuts.regrade, 0.8),
    "new_scene": (cuts.new_scene, 0.3),
    "blackout": (cuts.blackout, 0.3),
    "dissolve": (cuts.dissolve, 0.4),
    "photo_album": (cuts.photo_album, 0.6),
    "board_world": (grids.board_world, 2.0),
    "turning_board": (grids.turning_board, 0.5),
    "fine_boards": (grids.fine_boards, 1.2),
    "walkers": (walkers.walkers, 0.8),
    "chains": (walkers.chains, 0.3),
    "palette_swap": (editors.palette_swap, 0.8),
    "false_colors": (editors.false_colors, 0.5),
    "warp": (editors.warp, 0.6),
    "focus": (editors.focus, 0.4),
    "brush": (editors.brush, 0.4),
    "paint_bucket": (editors.paint_bucket, 0.4),
    "slides": (editors.slides, 0.3),
    "highlight": (editors.highlight, 0.6),
    "ink": (editors.ink, 0.3),
    "falling_pieces": (games.falling_pieces, 0.4),
    "snake": (games.snake, 0.4),
    "crates": (games.crates, 0.4),
    "rays": (games.rays, 0.4),
    "swaps": (games.swaps, 0.4),
    "scrolling_world": (games.scrolling_world, 0.3),
    "coins": (games.coins, 0.3),
    "gauges": (games.gauges, 0.3),
}
"""Every source with its share of the mixture."""


def clip(seed: int, index: int, size: int, source: str | None = None) -> Frame:
    """Make one clip.

    Args:
        seed: Names the corpus; training and validation use different seeds.
        index: Number of the clip within it.
        size: Side of the square frames in pixels.
        source: A key of `SOURCES`; None draws one according to the mixture.

    Returns:
        RGB frames (9, size, size, 3), uint8.
    """
    rng = np.random.default_rng((seed, index))
    if source is None:
        names = list(SOURCES)
        shares = np.array([share for _, share in SOURCES.values()])
        source = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    frames = SOURCES[source][0](rng, size)
    assert frames.shape == (NUM_FRAMES, size, size, 3), (source, frames.shape)
    return np.ascontiguousarray(frames)


def to_unit(frames: Frame) -> torch.Tensor:
    """Turn uint8 frames (..., T, H, W, 3) into float32 (..., 3, T, H, W) in -1..1."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).float() / 127.5 - 1
    return pixels.movedim(-1, -4)
