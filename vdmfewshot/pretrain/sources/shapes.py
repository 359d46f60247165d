"""Flat and textured shapes that move, turn, scale, bounce, fall, collide, occlude, appear, vanish and recolour."""

from __future__ import annotations

import numpy as np

from vdmfewshot.drawing.canvas import NUM_FRAMES, Floats, Frame, Rng, distinct_colors, random_color, texture
from vdmfewshot.drawing.things import Thing, draw_scene, random_thing


def moving_shapes(rng: Rng, size: int) -> Frame:
    """One to five objects before a texture, each with a way of its own."""
    things = [random_thing(rng, size) for _ in range(int(rng.integers(1, 6)))]
    return draw_scene(texture(rng, size), things, rng.random() < 0.7)


def flat_shapes(rng: Rng, size: int) -> Frame:
    """Sharp flat shapes on a flat backdrop, as in diagrams and animated films."""
    things = [random_thing(rng, size, textured=0.0) for _ in range(int(rng.integers(1, 7)))]
    backdrop = np.full((size, size, 3), random_color(rng), np.uint8)
    return draw_scene(backdrop, things, rng.random() < 0.5)


def occluder(rng: Rng, size: int) -> Frame:
    """Objects that pass behind one or two fixed bars or blocks."""
    things = [random_thing(rng, size) for _ in range(int(rng.integers(1, 4)))]
    for _ in range(int(rng.integers(1, 3))):
        block = random_thing(rng, size, radius=(0.15, 0.35))
        block.path, block.scale, block.angle = (np.repeat(v[:1], NUM_FRAMES, 0) for v in
                                                (block.path, block.scale, block.angle))  # fmt: skip
        things.append(block)
    return draw_scene(texture(rng, size), things, rng.random() < 0.7)


def collisions(rng: Rng, size: int) -> Frame:
    """Discs of equal mass that bounce off each other and off the walls."""
    count = int(rng.integers(2, 7))
    radius = rng.uniform(0.05, 0.12) * size
    position = rng.uniform(radius, size - radius, (count, 2))
    speed = rng.normal(0, 0.07, (count, 2)) * size
    speed[rng.random(count) < 0.3] = 0
    paths = []
    for _ in range(NUM_FRAMES):
        paths.append(position.copy())
        for _ in range(2):
            _bounce(position, speed, radius, size)
    track = np.stack(paths, 1)
    still = np.full(NUM_FRAMES, radius)
    circle = np.stack([np.cos(a := np.arange(24) * np.pi / 12), np.sin(a)], 1)
    colors = distinct_colors(rng, count + 1)
    things = [Thing(circle, track[i], still, 0 * still, [colors[i]] * NUM_FRAMES) for i in range(count)]
    return draw_scene(texture(rng, size), things, True)


def _bounce(position: Floats, speed: Floats, radius: float, size: int) -> None:
    """Advance half a frame in place; equal masses exchange their speeds along the line of contact."""
    position += speed / 2
    outside = (position < radius) | (position > size - radius)
    speed[outside] *= -1
    np.clip(position, radius, size - radius, out=position)
    for i in range(len(position)):
        for j in range(i):
            gap = position[i] - position[j]
            length = float(np.hypot(*gap))
            if 0 < length < 2 * radius:
                normal = gap / length
                closing = float((speed[i] - speed[j]) @ normal)
                if closing < 0:
                    speed[i] -= closing * normal
                    speed[j] += closing * normal
