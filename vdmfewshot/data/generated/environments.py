"""A coast: areas of sky, sea, sand, rock and grass, and the picture that they look like; for both directions."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.codecs.labelmap import LabelMapCodec
from vdmfewshot.data.generated.pictures import Labelled
from vdmfewshot.data.generated.scenes import Part
from vdmfewshot.drawing.canvas import Floats, Frame, Rng, noise_field, outline, place

SKY, SEA, SAND, ROCK, GRASS = range(5)
CLASSES = 5
Areas = NDArray[np.uint8]
#: upper and lower colour of each area
COLOURS = np.array(
    [
        [(96, 148, 216), (206, 226, 244)], [(22, 66, 120), (66, 150, 176)], [(226, 204, 150), (196, 164, 108)],
        [(120, 112, 108), (64, 58, 58)], [(112, 156, 70), (58, 104, 44)],
    ],
    dtype=np.float64,
)  # fmt: skip


def areas(rng: Rng, size: int) -> Areas:
    """(size, size) areas: a horizon, a shore and a bank that wave, and one to three rocks in the sea or on the sand."""
    y = np.mgrid[:size, :size][0] / size
    horizon = rng.uniform(0.25, 0.45)
    shore = rng.uniform(0.55, 0.75) + wave(rng, size, 0.08)
    bank = shore + rng.uniform(0.1, 0.2) + wave(rng, size, 0.06)
    picture = np.select([y < horizon, y < shore, y < bank], [SKY, SEA, SAND], GRASS).astype(np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        center = np.array([rng.uniform(0.1, 0.9), rng.uniform(horizon + 0.08, 0.85)]) * size
        rock = place(outline(rng), center, rng.uniform(0.06, 0.14) * size, rng.uniform(0, 6.3))
        cv2.fillPoly(picture, [np.rint(rock).astype(np.int32)], ROCK)
    return picture


def wave(rng: Rng, size: int, height: float) -> Floats:
    """(1, size) smooth line around 0."""
    return height * (2 * noise_field(rng, size, 4)[:1] - 1)


def painted(picture: Areas) -> Frame:
    """The coast as it looks: from the areas alone, so that it can be painted from them."""
    size = len(picture)
    y, x = np.mgrid[:size, :size] / size
    ripple = 0.5 + 0.5 * np.sin(2 * np.pi * (14 * y + 1.5 * np.sin(2 * np.pi * 3 * x)))
    stripes = 0.5 + 0.5 * np.sin(2 * np.pi * 9 * (x + y))
    shade = np.stack([y * 2, 0.6 * y + 0.4 * ripple, y + 0.15 * ripple, stripes, 0.7 * y + 0.3 * stripes])
    shade = np.clip(shade, 0, 1)[..., None]
    looks = COLOURS[:, 0, None, None] * (1 - shade) + COLOURS[:, 1, None, None] * shade
    look = np.take_along_axis(looks, picture[None, ..., None].astype(np.int64), axis=0)[0]
    return np.asarray(np.rint(look), np.uint8)


def image_to_mask(rng: Rng, size: int, part: Part) -> Labelled:
    """A coast and its areas."""
    label = areas(rng, size)
    return painted(label), label


def mask_to_image(rng: Rng, size: int, part: Part) -> Labelled:
    """A coast's areas, in colours of label maps, and the coast."""
    label = areas(rng, size)
    colors = np.array(LabelMapCodec(CLASSES).palette, np.uint8)
    return colors[label], painted(label)
