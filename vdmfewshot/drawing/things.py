"""Objects that move, turn, scale, bounce, fall, appear, vanish and recolour, and scenes of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import (
    NUM_FRAMES,
    Color,
    Floats,
    Frame,
    Rng,
    distinct_colors,
    ease,
    fill,
    outline,
    paste,
    place,
    random_color,
    texture,
)


@dataclass
class Thing:
    """One object of a scene; positions in pixels, angles in radians, one row a frame.

    Attributes:
        points: Outline (K, 2) in the unit disc.
        path: Centres (9, 2).
        scale: Radii (9,); zero hides the object.
        angle: Rotations (9,).
        colors: Colours (9, 3) of a flat object.
        surface: Texture (S, S, 3) of a textured object, else None.
        rim: Colour of a drawn contour, else None.
    """

    points: Floats
    path: Floats
    scale: Floats
    angle: Floats
    colors: list[Color]
    surface: Frame | None = None
    rim: Color | None = None

    def draw(self, frame: Frame, t: int, smooth: bool) -> None:
        """Paint the object as it is in frame ``t``."""
        if self.scale[t] < 0.5:
            return
        center = self.path[t]
        polygon = place(self.points, center, self.scale[t], self.angle[t])
        if self.surface is None:
            fill(frame, polygon, self.colors[t], smooth)
        else:
            paste(frame, self.surface, polygon, center, self.scale[t], self.angle[t])
        if self.rim is not None:
            fixed = np.round(polygon * 16).astype(np.int32)
            cv2.polylines(frame, [fixed], True, self.rim, 1, cv2.LINE_AA if smooth else cv2.LINE_8, 4)


def random_path(rng: Rng, size: int) -> Floats:
    """Centres (9, 2) of a still, straight, bouncing, falling, circling or jumping object."""
    start = rng.uniform(0.1, 0.9, 2) * size
    kind = rng.random()
    if kind < 0.22:
        return np.repeat(start[None], NUM_FRAMES, 0)
    if kind < 0.5:
        goal = start + rng.normal(0, 0.3, 2) * size
        return start + ease(rng)[:, None] * (goal - start)
    if kind < 0.65:
        line = start + np.arange(NUM_FRAMES)[:, None] * rng.uniform(-0.14, 0.14, 2) * size
        return np.asarray(size - np.abs(np.mod(line, 2 * size) - size))
    if kind < 0.8:
        return _fall(rng, start, size)
    if kind < 0.9:
        turn = rng.uniform(0, 6.3) + ease(rng) * rng.uniform(-5, 5)
        return size / 2 + np.stack([np.cos(turn), np.sin(turn)], 1) * rng.uniform(0.1, 0.4) * size
    jump = np.repeat(start[None], NUM_FRAMES, 0)
    jump[_moment(rng) :] = rng.uniform(0.1, 0.9, 2) * size
    return jump


def _fall(rng: Rng, start: Floats, size: int) -> Floats:
    """Free fall from ``start`` with bounces on the floor."""
    position, speed = start.copy(), np.array([rng.normal(0, 0.05), rng.uniform(-0.1, 0.05)]) * size
    gravity, floor, bounce = rng.uniform(0.01, 0.04) * size, rng.uniform(0.8, 0.95) * size, rng.uniform(0, 0.9)
    path = []
    for _ in range(NUM_FRAMES):
        path.append(position.copy())
        speed[1] += gravity
        position += speed
        if position[1] > floor:
            position[1], speed[1] = floor, -speed[1] * bounce
    return np.array(path)


def _moment(rng: Rng) -> int:
    """Frame of an abrupt change: half the time the middle of the clip."""
    return 4 if rng.random() < 0.5 else int(rng.integers(1, NUM_FRAMES - 1))


def random_thing(rng: Rng, size: int, textured: float = 0.35, radius: tuple[float, float] = (0.07, 0.26)) -> Thing:
    """Draw one object whose way, size, turn, colour and visibility may each change over the clip."""
    scale = np.full(NUM_FRAMES, rng.uniform(*radius) * size)
    if rng.random() < 0.25:
        scale = scale * (1 + ease(rng) * rng.uniform(-0.8, 1.0))
    if rng.random() < 0.12:
        cut = _moment(rng)
        scale[cut:] = scale[cut:] if (late := rng.random() < 0.5) else 0.0
        scale[:cut] = 0.0 if late else scale[:cut]
    angle = rng.uniform(0, 6.3) + (ease(rng) * rng.normal(0, 1.5) if rng.random() < 0.5 else np.zeros(NUM_FRAMES))
    return Thing(
        points=outline(rng),
        path=random_path(rng, size),
        scale=scale,
        angle=angle,
        colors=_color_track(rng),
        surface=texture(rng, 32) if rng.random() < textured else None,
        rim=random_color(rng) if rng.random() < 0.2 else None,
    )


def _color_track(rng: Rng) -> list[Color]:
    """One colour a frame: mostly constant, else switched at once or faded."""
    first, second = distinct_colors(rng, 2)
    kind = rng.random()
    if kind < 0.75:
        return [first] * NUM_FRAMES
    if kind < 0.9:
        cut = _moment(rng)
        return [first] * cut + [second] * (NUM_FRAMES - cut)
    mixed = np.array(first) + ease(rng)[:, None] * (np.array(second) - np.array(first))
    return [(int(r), int(g), int(b)) for r, g, b in mixed.round()]


def draw_scene(backdrop: Frame, things: list[Thing], smooth: bool) -> Frame:
    """Render a clip (9, H, W, 3) of things before a fixed backdrop; later things occlude earlier ones."""
    frames = []
    for t in range(NUM_FRAMES):
        frame = backdrop.copy()
        for thing in things:
            thing.draw(frame, t, smooth)
        frames.append(frame)
    return np.stack(frames)
