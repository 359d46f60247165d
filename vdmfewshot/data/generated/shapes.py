"""Which of six shapes a picture shows: classification."""

from __future__ import annotations

import cv2
import numpy as np

from vdmfewshot.data.generated.pictures import Labelled
from vdmfewshot.data.generated.scenes import Part, contrasting
from vdmfewshot.drawing.canvas import Floats, Rng, fill, place, texture

SHAPES = ("disc", "square", "triangle", "star", "cross", "ring")


def corners(shape: str) -> Floats:
    """(K, 2) outline in the unit disc; rings have that of a disc."""
    if shape in ("disc", "ring"):
        return on_circle(48)
    if shape == "cross":
        arm, quarter = np.array([(0.95, -0.3), (0.95, 0.3), (0.3, 0.3)]), np.array([[0.0, -1.0], [1.0, 0.0]])
        return np.asarray(np.concatenate([arm @ np.linalg.matrix_power(quarter, turns).T for turns in range(4)]))
    if shape == "star":
        return np.asarray(on_circle(10) * np.tile([1.0, 0.42], 5)[:, None])
    return on_circle({"triangle": 3, "square": 4}[shape])


def on_circle(count: int) -> Floats:
    """(count, 2) points on the unit circle."""
    angles = 2 * np.pi * np.arange(count) / count
    return np.column_stack([np.cos(angles), np.sin(angles)])


def shape(rng: Rng, size: int, part: Part) -> Labelled:
    """A shape of any colour, place, size and turn before a texture, and its number."""
    image = texture(rng, size, photos=False)
    number = int(rng.integers(len(SHAPES)))
    radius = rng.uniform(0.2, 0.36) * size
    center = rng.uniform(radius, size - radius, 2)
    color = contrasting(rng, image)
    behind = image.copy()
    fill(image, place(corners(SHAPES[number]), center, radius, rng.uniform(0, 2 * np.pi)), color, smooth=True)
    if SHAPES[number] == "ring":
        hole = np.zeros(image.shape[:2], np.uint8)
        cv2.circle(hole, np.rint(center).astype(int).tolist(), round(0.55 * radius), 1, -1)
        image[hole > 0] = behind[hole > 0]
    return image, number
