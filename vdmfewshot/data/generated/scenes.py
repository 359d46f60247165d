"""What the tasks show: crops of photos that no training clip shows, and scenes of objects drawn without photos."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import (
    HELD_OUT_PHOTOS,
    Color,
    Floats,
    Frame,
    Rng,
    fill,
    outline,
    photo_bank,
    place,
    random_color,
    texture,
)
from vdmfewshot.drawing.things import random_thing

#: support pairs are training material, queries are scored
Part = Literal["support", "query"]
#: colour photos of scikit-image that no training clip shows
PHOTOS = (*HELD_OUT_PHOTOS, "immunohistochemistry", "retina")


def photo(rng: Rng, size: int, part: Part) -> Frame:
    """A (size, size, 3) crop of a held-out photo: of its left half for supports, of its right half for queries.

    So no pixel of a photo is seen in training and asked about.

    Raises:
        ImportError: if scikit-image, whose photos these are, is not installed.
    """
    bank = photo_bank(PHOTOS)
    if not bank:
        raise ImportError("the evidence tasks show photos of scikit-image: pip install 'vdmfewshot[synth]'")
    whole = bank[int(rng.integers(len(bank)))]
    middle = whole.shape[1] // 2
    half = whole[:, :middle] if part == "support" else whole[:, middle:]
    side = int(rng.integers(min(half.shape[:2]) // 3, min(half.shape[:2]) + 1))
    y, x = (int(rng.integers(limit - side + 1)) for limit in half.shape[:2])
    return np.asarray(cv2.resize(half[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA))


def scene(rng: Rng, size: int) -> Frame:
    """A (size, size, 3) picture of one to six flat or textured objects before a texture."""
    frame = texture(rng, size, photos=False)
    for _ in range(int(rng.integers(1, 7))):
        thing = random_thing(rng, size, textured=0.0)
        if rng.random() < 0.35:
            thing.surface = texture(rng, 32, photos=False)
        thing.draw(frame, 0, smooth=True)
    return frame


def picture(rng: Rng, size: int, part: Part) -> Frame:
    """A photo or a scene, one as often as the other."""
    return photo(rng, size, part) if rng.random() < 0.5 else scene(rng, size)


def add_objects(rng: Rng, frame: Frame) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Draw one to three flat objects into a (S, S, 3) picture, in place, and return where they are, (S, S) bool."""
    size = len(frame)
    drawn = np.zeros_like(frame)
    for _ in range(int(rng.integers(1, 4))):
        center, radius, angle = rng.uniform(0.15, 0.85, 2) * size, rng.uniform(0.12, 0.28) * size, rng.uniform(0, 6.3)
        polygon: Floats = place(outline(rng), center, radius, angle)
        fill(frame, polygon, contrasting(rng, frame), smooth=True)
        fill(drawn, polygon, (255, 255, 255), smooth=False)
    return np.asarray(drawn[..., 0] > 127)


def contrasting(rng: Rng, frame: Frame, distance: float = 120.0) -> Color:
    """A colour at least ``distance`` (L1) from the mean of a picture, as far as 20 draws allow."""
    mean = frame.reshape(-1, 3).mean(axis=0)
    for _ in range(20):
        color = random_color(rng)
        if np.abs(np.array(color) - mean).sum() >= distance:
            break
    return color
