"""Abrupt and gradual changes of state: hard cuts, time skips, dissolves and wipes between views of a scene."""

from __future__ import annotations

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import (
    NUM_FRAMES,
    TRAIN_PHOTOS,
    Frame,
    Rng,
    distinct_colors,
    ease,
    photo_bank,
    photo_crop,
    texture,
)
from vdmfewshot.drawing.things import draw_scene, random_thing
from vdmfewshot.pretrain.sources.camera import MOST_TURN, still_scene, view


def cut_frame(rng: Rng) -> int:
    """First frame of the second state: the middle (4) in most clips."""
    return 4 if rng.random() < 0.7 else int(rng.integers(2, 8))


def join(first: Frame, second: Frame, cut: int) -> Frame:
    """A clip (9, H, W, 3) that shows one still until ``cut`` and then another."""
    return np.concatenate([np.repeat(first[None], cut, 0), np.repeat(second[None], NUM_FRAMES - cut, 0)])


def shot_change(rng: Rng, size: int) -> Frame:
    """Two still camera positions over one scene, joined by a hard cut."""
    scene = still_scene(rng, int(size * 1.4))
    shots = [
        view(scene, size, rng.normal(0, 0.15, 2) * size, float(np.exp(rng.normal(0, 0.35))), turn)
        for turn in np.clip(rng.normal(0, 0.4, 2), -MOST_TURN / 2, MOST_TURN / 2)
    ]
    return join(shots[0], shots[1], cut_frame(rng))


def time_skip(rng: Rng, size: int) -> Frame:
    """The same place before and after: some objects have moved, turned, grown, left or come, at once."""
    backdrop = texture(rng, size)
    things = [random_thing(rng, size) for _ in range(int(rng.integers(1, 6)))]
    clip = draw_scene(backdrop, things, rng.random() < 0.7)
    return join(clip[0], clip[-1], cut_frame(rng))


def regrade(rng: Rng, size: int) -> Frame:
    """A scene whose colours change at once: other light, other film, other paint."""
    scene = still_scene(rng, size)
    kind = rng.random()
    if kind < 0.4:
        graded = np.clip(scene * np.exp(rng.normal(0, 0.5, 3)) + rng.normal(0, 30), 0, 255)
    elif kind < 0.7:
        mix = np.eye(3) + rng.normal(0, 0.35, (3, 3))
        graded = np.clip(scene @ mix.T, 0, 255)
    else:
        hsv = cv2.cvtColor(scene, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + int(rng.integers(20, 160))) % 180
        graded = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return join(scene, graded.astype(np.uint8), cut_frame(rng))


def new_scene(rng: Rng, size: int) -> Frame:
    """A hard cut between two scenes that share nothing."""
    return join(still_scene(rng, size), still_scene(rng, size), cut_frame(rng))


def blackout(rng: Rng, size: int) -> Frame:
    """The picture switches to one flat colour, or from it to the scene."""
    scene, flat = still_scene(rng, size), np.full((size, size, 3), distinct_colors(rng, 1)[0], np.uint8)
    first, second = (scene, flat) if rng.random() < 0.6 else (flat, scene)
    return join(first, second, cut_frame(rng))


def dissolve(rng: Rng, size: int) -> Frame:
    """One view melts into another, or is wiped away by it along a moving edge."""
    first = still_scene(rng, size)
    second = texture(rng, size) if rng.random() < 0.3 else still_scene(rng, size)
    progress = ease(rng)[:, None, None, None]
    if rng.random() < 0.6:
        return (first + progress * (second.astype(np.float32) - first)).round().astype(np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.mgrid[0:size, 0:size] / size - 0.5
    edge = ((xs * np.cos(angle) + ys * np.sin(angle)) / 1.42 + 0.5)[None, :, :, None]
    return np.where(edge < progress, second, first).astype(np.uint8)


def photo_album(rng: Rng, size: int) -> Frame:
    """A slide show: a photo, or any scene where no photos are installed, is followed by another one."""
    photos = photo_bank(TRAIN_PHOTOS)
    first, second = (photo_crop(rng, size, TRAIN_PHOTOS) if photos else still_scene(rng, size) for _ in range(2))
    return join(first, second, cut_frame(rng))
