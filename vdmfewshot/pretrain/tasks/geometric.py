"""Geometric families. Mirrors, quarter and half turns and enlargements are kept back."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import Floats, Frame, Rng
from vdmfewshot.pretrain.tasks.pairs import Draw, Rule, chosen, seen_as, sign, whole

Field = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""Places (x, y) of the target, from -1 to 1 → where the input shows what is there."""


def _border(rng: Rng) -> int:
    """What is seen beyond the edges: black, the outermost pixels or the picture again; never its mirror image."""
    return int(chosen(rng, cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_WRAP))


def _affine(linear: Floats, offset: Floats, border: int) -> Draw:
    """Pixels move by a (2, 2) matrix about the middle and by an offset in sides of the frame."""

    def change(image: Frame) -> Frame:
        size = len(image)
        middle = (size - 1) / 2
        shift = offset * size + middle - linear @ np.array([middle, middle])
        matrix = np.column_stack([linear, shift])
        return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border))

    return seen_as(change)


def shift(rng: Rng) -> Draw:
    """Everything moves by the same way; what leaves comes in again on the other side, or black does."""
    offset = rng.uniform(0.12, 0.5, 2) * rng.choice([-1, 1], 2) * rng.permutation([1, whole(rng, 0, 1)])
    border = cv2.BORDER_WRAP if rng.random() < 0.7 else cv2.BORDER_CONSTANT
    return _affine(np.eye(2), offset, border)


def shrink(rng: Rng) -> Draw:
    """The picture becomes smaller, in the middle or towards a corner."""
    factor = rng.uniform(0.35, 0.75)
    return _affine(np.eye(2) * factor, rng.integers(-1, 2, 2) * (1 - factor) / 2, _border(rng))


def stretch(rng: Rng) -> Draw:
    """Wider and lower, or the other way round."""
    factor = rng.uniform(1.3, 2.0) ** sign(rng)
    return _affine(np.diag([factor, 1 / factor]), np.zeros(2), _border(rng))


def turn(rng: Rng) -> Draw:
    """A turn by 15 to 65 degrees, short of a quarter."""
    angle = np.radians(rng.uniform(15, 65)) * sign(rng)
    c, s = np.cos(angle), np.sin(angle)
    return _affine(np.array([[c, -s], [s, c]]), np.zeros(2), _border(rng))


def shear(rng: Rng) -> Draw:
    """Rows or columns move by an amount that grows along the other axis."""
    linear = np.eye(2)
    row = int(rng.integers(2))
    linear[row, 1 - row] = rng.uniform(0.3, 0.9) * sign(rng)
    return _affine(linear, np.zeros(2), _border(rng))


def perspective(rng: Rng) -> Draw:
    """The picture leans away from the camera to one side."""
    side, depth = int(rng.integers(4)), rng.uniform(0.12, 0.3)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    moved = corners.copy()
    near, far = side, (side + 1) % 4
    axis = int(abs(corners[far] - corners[near]).argmax())
    moved[near, axis] += depth * np.sign(corners[far] - corners[near])[axis]
    moved[far, axis] -= depth * np.sign(corners[far] - corners[near])[axis]
    border = _border(rng)

    def change(image: Frame) -> Frame:
        size = len(image)
        matrix = cv2.getPerspectiveTransform(corners * np.float32(size - 1), moved * np.float32(size - 1))
        return np.asarray(cv2.warpPerspective(image, matrix, (size, size), borderMode=border))

    return seen_as(change)


def _field(field: Field) -> Draw:
    def change(image: Frame) -> Frame:
        size = len(image)
        ys, xs = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1
        u, v = ((part + 1) / 2 * (size - 1) for part in field(xs, ys))
        maps = np.float32(u), np.float32(v)
        return np.asarray(cv2.remap(image, *maps, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE), np.uint8)

    return seen_as(change)


def swirl(rng: Rng) -> Draw:
    """A turn that is strongest in the middle."""
    strength, width = rng.uniform(0.7, 1.5) * sign(rng), rng.uniform(0.3, 0.8)

    def field(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        angle = strength * np.exp(-(x * x + y * y) / (2 * width**2))
        return x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)

    return _field(field)


def bulge(rng: Rng) -> Draw:
    """A lens that enlarges or reduces what is in the middle, and nothing at the edges."""
    strength, width = rng.uniform(0.3, 0.7) * sign(rng), rng.uniform(0.3, 0.6)

    def field(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        scale = 1 - strength * np.exp(-(x * x + y * y) / (2 * width**2))
        return x * scale, y * scale

    return _field(field)


def waves(rng: Rng) -> Draw:
    """Rows or columns swing to and fro."""
    rate, height, phase = rng.uniform(2, 7), rng.uniform(0.06, 0.18), rng.uniform(0, 6.3)
    across = rng.random() < 0.5

    def field(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        if across:
            return x + height * np.sin(rate * y + phase), y
        return x, y + height * np.sin(rate * x + phase)

    return _field(field)


def tiling(rng: Rng) -> Draw:
    """The picture several times, smaller, side by side."""
    columns, rows = ((2, 1), (1, 2), (2, 2), (3, 3), (3, 1), (1, 3))[int(rng.integers(6))]

    def change(image: Frame) -> Frame:
        size = len(image)
        small = cv2.resize(image, (-(-size // columns), -(-size // rows)), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(np.tile(small, (rows, columns, 1))[:size, :size])

    return seen_as(change)


def strips(rng: Rng) -> Draw:
    """Strips of the picture, lying or standing, each moved on by its own amount around the edge."""
    count, axis = whole(rng, 2, 6), int(rng.integers(2))
    amounts = rng.uniform(-0.5, 0.5, count)

    def change(image: Frame) -> Frame:
        size = len(image)
        parts = np.array_split(image, count, axis)
        moved = [np.roll(part, round(a * size), 1 - axis) for part, a in zip(parts, amounts, strict=True)]
        return np.ascontiguousarray(np.concatenate(moved, axis))

    return seen_as(change)


FAMILIES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (shift, shrink, stretch, turn, shear, perspective, swirl, bulge, waves, tiling, strips)
}
