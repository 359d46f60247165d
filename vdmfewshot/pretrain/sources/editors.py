"""What editing programs show: other palettes, false colours, warps, focus, brushes, paint buckets and slides."""

from __future__ import annotations

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import (
    NUM_FRAMES,
    Color,
    Frame,
    Rng,
    blend,
    distinct_colors,
    ease,
    noise_field,
    random_color,
    solid,
    texture,
)
from vdmfewshot.drawing.things import draw_scene, random_thing
from vdmfewshot.pretrain.sources.camera import moving_camera, still_scene
from vdmfewshot.pretrain.sources.cuts import cut_frame, join
from vdmfewshot.pretrain.sources.grids import paint, random_board


def palette_swap(rng: Rng, size: int) -> Frame:
    """A drawing of few flat colours whose palette is exchanged, all of it or a part: a theme, another print run."""
    count = int(rng.integers(3, 7))
    numbers = _drawing(rng, size, count)
    first = distinct_colors(rng, count, 90)
    others = distinct_colors(rng, count, 90)
    kind = rng.random()
    if kind < 0.3:  # the same colours, in other places
        others = [first[i] for i in rng.permutation(count)]
    elif kind < 0.65:  # one or two colours only
        kept = rng.permutation(count)[: count - int(rng.integers(1, 3))]
        others = [first[i] if i in kept else others[i] for i in range(count)]
    return join(np.array(first, np.uint8)[numbers], np.array(others, np.uint8)[numbers], cut_frame(rng))


def _drawing(rng: Rng, size: int, count: int) -> np.ndarray:
    """Colour numbers (size, size) of flat shapes or of a board."""
    if rng.random() < 0.4:
        board = random_board(rng, count)
        cell = max(2, (size - 1) // max(board.shape))
        grey = [(i, i, i) for i in range(count)]
        return np.asarray(paint(board, size, cell, grey, None, solid(size, grey[int(rng.integers(count))]))[..., 0])
    numbers = np.zeros((size, size, 3), np.uint8)
    things = [random_thing(rng, size, textured=0.0) for _ in range(int(rng.integers(2, 8)))]
    for thing in things:
        color = int(rng.integers(1, count))
        thing.colors, thing.rim = [(color, color, color)] * NUM_FRAMES, None
        thing.draw(numbers, 0, smooth=False)
    return np.asarray(numbers[..., 0])


def false_colors(rng: Rng, size: int) -> Frame:
    """A camera that switches to night vision, sepia, a thermal palette or few tones: brightness becomes a colour."""
    scene = still_scene(rng, size)
    grey = cv2.cvtColor(scene, cv2.COLOR_RGB2GRAY)
    levels = int(rng.integers(3, 6))
    stops = np.array(distinct_colors(rng, levels, 120))
    if rng.random() < 0.5:  # from dark to bright, as most palettes go
        stops = stops[np.argsort(stops.sum(1))]
    scale = np.stack([np.interp(np.linspace(0, levels - 1, 256), np.arange(levels), stops[:, i]) for i in range(3)], 1)
    if rng.random() < 0.3:
        scale = np.repeat(stops, 256 // levels + 1, 0)[:256]
    shown = scale[grey].astype(np.uint8)
    if rng.random() < 0.25:
        shown = cv2.addWeighted(scene, 0.5, shown, 0.5, 0)
    return join(scene, np.asarray(shown, np.uint8), cut_frame(rng))


def warp(rng: Rng, size: int) -> Frame:
    """A picture that ripples, swirls, bulges or is stretched by a smooth field, step by step or at once."""
    scene = still_scene(rng, size)
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    dx, dy = _displacement(rng, size, xs, ys)
    progress = ease(rng) if rng.random() < 0.6 else (np.arange(NUM_FRAMES) >= cut_frame(rng)).astype(float)
    return np.stack(
        [
            cv2.remap(
                scene, xs + np.float32(p) * dx, ys + np.float32(p) * dy, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT_101
            )
            for p in progress
        ]
    )


def _displacement(rng: Rng, size: int, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel comes from, relative to itself (x, y), in pixels."""
    center = rng.uniform(0.3, 0.7, 2) * size
    u, v = xs - np.float32(center[0]), ys - np.float32(center[1])
    near = np.exp(-(u * u + v * v) / np.float32(2 * (rng.uniform(0.15, 0.5) * size) ** 2))
    kind = rng.random()
    if kind < 0.3:
        turn = np.float32(rng.uniform(-1.2, 1.2)) * near
        return u * np.cos(turn) - v * np.sin(turn) - u, u * np.sin(turn) + v * np.cos(turn) - v
    if kind < 0.6:
        strength = np.float32(rng.uniform(-0.6, 0.6))
        return -strength * near * u, -strength * near * v
    if kind < 0.8:
        wave, height = rng.uniform(0.1, 0.6), np.float32(rng.uniform(1, 0.08 * size))
        return height * np.sin(ys * np.float32(wave)), 0 * ys
    fields = [(noise_field(rng, size, 4) - 0.5).astype(np.float32) * np.float32(0.3 * size) for _ in range(2)]
    return fields[0], fields[1]


def focus(rng: Rng, size: int) -> Frame:
    """A lens that goes out of focus or finds it, over a still or moving scene, or picture elements that grow."""
    clip = np.repeat(still_scene(rng, size)[None], NUM_FRAMES, 0) if rng.random() < 0.6 else moving_camera(rng, size)
    strength = ease(rng) * rng.uniform(0.5, 0.05 * size)
    if rng.random() < 0.3:
        return np.stack([_coarse(frame, 1 + int(2 * s)) for frame, s in zip(clip, strength, strict=True)])
    return np.stack([cv2.GaussianBlur(f, (0, 0), s) if s > 0.2 else f for f, s in zip(clip, strength, strict=True)])


def _coarse(frame: Frame, cell: int) -> Frame:
    size = len(frame)
    small = cv2.resize(frame, (max(1, size // cell), max(1, size // cell)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_NEAREST), np.uint8)


def brush(rng: Rng, size: int) -> Frame:
    """Strokes that are drawn on a canvas one after the other, some of them with an eraser."""
    canvas = np.ascontiguousarray(texture(rng, size) if rng.random() < 0.5 else solid(size, random_color(rng)))
    paper, frames = canvas.copy(), [canvas.copy()]
    colors, width = distinct_colors(rng, 3), max(1, int(rng.uniform(0.02, 0.12) * size))
    point, heading = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0, 6.3)
    for t in range(1, NUM_FRAMES):
        if rng.random() < 0.2:
            point, heading = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0, 6.3)
        heading += rng.normal(0, 0.6)
        step = np.array([np.cos(heading), np.sin(heading)]) * rng.uniform(0.05, 0.2) * size
        ends = [tuple((p * 16).astype(int).tolist()) for p in (point, point + step)]
        if rng.random() < 0.1:
            stroke = np.zeros((size, size), np.uint8)
            cv2.line(stroke, ends[0], ends[1], 255, 2 * width, cv2.LINE_8, 4)
            canvas[stroke > 0] = paper[stroke > 0]
        else:
            cv2.line(canvas, ends[0], ends[1], colors[t % 3 if rng.random() < 0.2 else 0], width, cv2.LINE_AA, 4)
        point = np.clip(point + step, 0, size)
        frames.append(canvas.copy())
    return np.stack(frames)


def paint_bucket(rng: Rng, size: int) -> Frame:
    """A line drawing of overlapping shapes whose areas are filled with colour one by one, or all at once."""
    paper, ink = distinct_colors(rng, 2, 200)
    canvas = solid(size, paper)
    for _ in range(int(rng.integers(2, 6))):
        thing = random_thing(rng, size, textured=0.0, radius=(0.12, 0.4))
        thing.colors, thing.rim = [paper] * NUM_FRAMES, ink
        thing.draw(canvas, 0, smooth=False)
    frames, colors = [canvas.copy()], distinct_colors(rng, 4)
    at_once = rng.random() < 0.4
    for t in range(1, NUM_FRAMES):
        for _ in range(1 if not at_once else 6 if t == 4 else 0):
            x, y = rng.integers(0, size, 2).tolist()
            if tuple(canvas[y, x].tolist()) != ink:
                cv2.floodFill(canvas, None, (x, y), colors[int(rng.integers(4))])
        frames.append(canvas.copy())
    return np.stack(frames)


def slides(rng: Rng, size: int) -> Frame:
    """A picture that is pushed out, covered, uncovered by an iris or by blinds, by another one."""
    first, second = still_scene(rng, size), still_scene(rng, size)
    ys, xs = np.mgrid[0:size, 0:size] / size
    kind, progress = int(rng.integers(4)), ease(rng)
    if kind == 0:
        strip = np.concatenate([first, second], 1)
        pushed = np.stack([strip[:, int(p * size) : int(p * size) + size] for p in progress])
        return pushed.transpose(0, 2, 1, 3) if rng.random() < 0.5 else pushed
    order = {
        1: np.hypot(xs - rng.uniform(0.3, 0.7), ys - rng.uniform(0.3, 0.7)),
        2: (xs if rng.random() < 0.5 else ys) * int(rng.integers(2, 7)) % 1.0,
        3: np.kron(rng.random((8, 8)), np.ones((size // 8, size // 8))),
    }[kind]
    return np.where((order < progress[:, None, None] * order.max())[..., None], second, first).astype(np.uint8)


def highlight(rng: Rng, size: int) -> Frame:
    """One object of a scene is selected: a rim or a glow appears, or it blinks, grows or leaves with a new colour."""
    backdrop = texture(rng, size)
    things = [random_thing(rng, size) for _ in range(int(rng.integers(2, 6)))]
    for thing in things:
        thing.path, thing.scale, thing.angle = (np.repeat(v[:1], NUM_FRAMES, 0) for v in
                                                (thing.path, thing.scale, thing.angle))  # fmt: skip
    chosen, on = things[-1], np.arange(NUM_FRAMES) >= cut_frame(rng)
    if rng.random() < 0.3:
        on = np.arange(NUM_FRAMES) // int(rng.integers(1, 4)) % 2 == 1
    kind, bright = rng.random(), random_color(rng)
    if kind < 0.4:
        lit: list[Color] = [bright if lamp else color for lamp, color in zip(on, chosen.colors, strict=True)]
        chosen.colors, chosen.surface = lit, None
    elif kind < 0.7:
        chosen.scale = chosen.scale * np.where(on, rng.uniform(1.2, 1.8), 1.0)
    smooth = rng.random() < 0.7
    clip = draw_scene(backdrop, things, smooth)
    if kind >= 0.7:
        chosen.rim = bright
        clip[on] = draw_scene(backdrop, things, smooth)[on]
    return clip


def ink(rng: Rng, size: int) -> Frame:
    """Ink that spreads in paper, mould that grows, or water that rises, along a smooth random field."""
    field = noise_field(rng, size, int(rng.integers(3, 8)))
    ys, xs = np.mgrid[0:size, 0:size] / size
    if rng.random() < 0.6:
        x, y = rng.uniform(0.2, 0.8, 2)
        field = field * 0.5 + np.hypot(xs - x, ys - y)
    else:
        field = field * 0.25 + (ys if rng.random() < 0.5 else 1 - ys)
    field = (field - field.min()) / np.ptp(field)
    paper, color = texture(rng, size), random_color(rng)
    reach = ease(rng) * rng.uniform(0.3, 1.0)
    softness = rng.uniform(0.02, 0.2)
    weights = np.clip((reach[:, None, None] - field) / softness, 0, 1) * rng.uniform(0.6, 1.0)
    stain = blend(color, random_color(rng), field) if rng.random() < 0.5 else solid(size, color)
    mixed = paper + weights[..., None] * (stain.astype(np.float32) - paper)
    return np.asarray(mixed.round(), np.uint8)
