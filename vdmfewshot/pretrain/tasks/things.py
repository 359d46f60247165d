"""Masks by rule and keypoints of articulated figures. Masks of all objects, and people, are kept back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.keypoints import KeypointCodec
from vdmfewshot.drawing.canvas import (
    CRAYONS,
    Color,
    Floats,
    Frame,
    Rng,
    distinct_colors,
    fill,
    outline,
    place,
    random_color,
    texture,
)
from vdmfewshot.pretrain.tasks.pairs import Draw, Rule, chosen, picture, sign, whole

VIVID: tuple[Color, ...] = CRAYONS[2:9]


@dataclass
class Part:
    """A flat object: its outline (K, 2) in pixels, centre (x, y), radius in pixels and colour."""

    points: Floats
    center: Floats
    radius: float
    color: Color


def _white(image: Frame, chosen_parts: list[Part]) -> Frame:
    mask = np.zeros_like(image)
    for part in chosen_parts:
        fill(mask, part.points, (255, 255, 255), smooth=False)
    return mask


def _parts(rng: Rng, size: int, colors: list[Color], radii: list[float]) -> list[Part]:
    """Objects that lie apart from each other, as far as 30 tries an object allow."""
    parts: list[Part] = []
    for color, radius in zip(colors, radii, strict=True):
        for _ in range(30):
            center = rng.uniform(radius, size - radius, 2)
            if all(np.hypot(*(center - p.center)) > radius + p.radius for p in parts):
                parts.append(Part(place(outline(rng), center, radius, rng.uniform(0, 6.3)), center, radius, color))
                break
    return parts


def _picked(pick: Callable[[list[Part]], list[Part]], palette: tuple[Color, ...]) -> Draw:
    """Objects before a surface, and a white mask of those that a rule picks."""

    def draw(rng: Rng, size: int) -> tuple[Frame, Frame]:
        image = np.ascontiguousarray(texture(rng, size))
        count = whole(rng, 2, 5)
        colors = [palette[int(i)] for i in rng.integers(len(palette), size=count)]
        colors[whole(rng, 0, count - 1)] = palette[0]
        radii = list(size * np.sort(rng.uniform(0.08, 0.24, count))[::-1])
        parts = _parts(rng, size, colors, radii)
        for part in parts:
            fill(image, part.points, part.color)
        return image, _white(image, pick(parts))

    return draw


def _palette(rng: Rng) -> tuple[Color, ...]:
    return tuple(VIVID[int(i)] for i in rng.permutation(len(VIVID))[: whole(rng, 2, 4)])


def largest(rng: Rng) -> Draw:
    """The largest object."""
    return _picked(lambda parts: [max(parts, key=lambda p: p.radius)], _palette(rng))


def outermost(rng: Rng) -> Draw:
    """The object that lies farthest to one side."""
    axis, way = int(rng.integers(2)), sign(rng)
    return _picked(lambda parts: [max(parts, key=lambda p: way * p.center[axis])], _palette(rng))


def of_color(rng: Rng) -> Draw:
    """All objects of one colour."""
    palette = _palette(rng)
    return _picked(lambda parts: [p for p in parts if p.color == palette[0]], palette)


def not_of_color(rng: Rng) -> Draw:
    """All objects but those of one colour."""
    palette = _palette(rng)
    return _picked(lambda parts: [p for p in parts if p.color != palette[0]], palette)


def bright(rng: Rng) -> Draw:
    """All that is brighter than a level of grey, or darker."""
    level, way = rng.uniform(80, 180), sign(rng)

    def draw(rng: Rng, size: int) -> tuple[Frame, Frame]:
        image = picture(rng, size)
        grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), size / 64)
        chosen_pixels = way * grey.astype(float) > way * level
        return image, np.repeat(np.where(chosen_pixels, 255, 0).astype(np.uint8)[..., None], 3, 2)

    return draw


def _figure(size: int, image: Frame, bones: list[tuple[int, int]], joints: Floats, colors: list[Color], width: float,
            named: list[int]) -> tuple[Frame, Frame]:  # fmt: skip
    """A stick figure before a surface, and a coloured disc for each named joint."""
    for (a, b), color in zip(bones, colors, strict=False):
        start, end = ((joints[i] * 16).astype(int).tolist() for i in (a, b))
        cv2.line(image, start, end, color, max(1, round(width)), cv2.LINE_AA, 4)
    inside = ((joints >= 0) & (joints < size)).all(1)
    labels = np.column_stack([joints, np.where(inside, 2.0, 0.0)])[named]
    return image, KeypointCodec(len(named)).encode(labels, Letterbox((size, size), (size, size)))


def _tree(rng: Rng, parents: list[int], lengths: Floats, rest: Floats, bend: float) -> Floats:
    """Joints (J, 2) of a tree of bones in its own units; angles vary by ``bend`` radians about those at rest."""
    joints = np.zeros((len(parents), 2))
    angles = rest + rng.normal(0, bend, len(parents))
    for joint, parent in enumerate(parents):
        if parent >= 0:
            way = np.array([np.cos(angles[joint]), np.sin(angles[joint])])
            joints[joint] = joints[parent] + lengths[joint] * way
    return joints


def _creature(rng: Rng, parents: list[int], rest: Floats, bend: float) -> Draw:
    """Pairs of one kind of creature, with the bones, colours and named joints that it always has."""
    lengths = rng.uniform(0.6, 1.2, len(parents))
    count = len(parents)
    colors = distinct_colors(rng, count) if rng.random() < 0.6 else [random_color(rng)] * count
    some = count if rng.random() < 0.6 else whole(rng, 2, count)
    named = sorted(rng.permutation(count)[:some].tolist())
    bones = [(parents[i], i) for i in range(count) if parents[i] >= 0]

    def draw(rng: Rng, size: int) -> tuple[Frame, Frame]:
        joints = _tree(rng, parents, lengths, rest + rng.normal(0, 0.5), bend)
        joints -= (joints.min(0) + joints.max(0)) / 2
        scale = rng.uniform(0.3, 0.45) * size / max(0.5, float(np.abs(joints).max()))
        joints = joints * scale + size / 2 + rng.uniform(-0.08, 0.08, 2) * size
        image = np.ascontiguousarray(texture(rng, size))
        return _figure(size, image, bones, joints, colors, scale * 0.12, named)

    return draw


def chain(rng: Rng) -> Draw:
    """The joints of a chain of three to six links."""
    count = whole(rng, 4, 7)
    return _creature(rng, list(range(-1, count - 1)), np.full(count, rng.uniform(0, 6.3)), 0.6)


def spider(rng: Rng) -> Draw:
    """The middle and the ends of three to six arms around it."""
    arms = whole(rng, 3, 6)
    return _creature(rng, [-1] + [0] * arms, np.append(0, np.arange(arms) * 2 * np.pi / arms), 0.25)


def branches(rng: Rng) -> Draw:
    """The joints of a tree whose bones fork."""
    count = whole(rng, 5, 9)
    parents = [-1, *(int(rng.integers(max(0, i - 3), i)) for i in range(1, count))]
    return _creature(rng, parents, rng.uniform(0, 6.3, count), 0.3)


def polygon(rng: Rng) -> Draw:
    """The corners of a flat polygon, from the topmost one on."""
    corners, named = whole(rng, 3, 6), chosen(rng, 0, 1)

    def draw(rng: Rng, size: int) -> tuple[Frame, Frame]:
        image = np.ascontiguousarray(texture(rng, size))
        angles = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners + rng.uniform(0, 6.3)
        points = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.2, 0.42) * size + size / 2
        points = np.roll(points, -int(points[:, 1].argmin()), 0)
        fill(image, points, random_color(rng))
        return _figure(size, image, [], points, [], 0, list(range(corners)) if named else [0])

    return draw


MASKS: dict[str, Rule] = {rule.__name__: rule for rule in (largest, outermost, of_color, not_of_color, bright)}
KEYPOINTS: dict[str, Rule] = {rule.__name__: rule for rule in (chain, spider, branches, polygon)}
