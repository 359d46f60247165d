"""Light that changes over a scene, shadow plays, cartoons and drifting cells."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from vdmfewshot.drawing.canvas import (
    NUM_FRAMES,
    Color,
    Frame,
    Rng,
    blend,
    distinct_colors,
    ease,
    fill,
    noise_field,
    random_color,
    solid,
    to_frame,
)
from vdmfewshot.drawing.things import draw_scene, random_path, random_thing
from vdmfewshot.pretrain.sources.camera import moving_camera, still_scene


def lighting(rng: Rng, size: int) -> Frame:
    """Exposure, contrast and white balance drift over a still or moving scene, or a lamp wanders over it."""
    clip = _base(rng, size).astype(np.float32)
    progress = ease(rng).astype(np.float32)[:, None, None, None]
    if rng.random() < 0.35:
        return _lamp(rng, clip)
    gain = 1 + progress * (np.exp(rng.normal(0, 0.5, 3)) - 1)
    offset = progress * rng.normal(0, 25)
    return to_frame(clip * gain + offset)


def _base(rng: Rng, size: int) -> Frame:
    if rng.random() < 0.6:
        return np.repeat(still_scene(rng, size)[None], NUM_FRAMES, 0)
    return moving_camera(rng, size)


def _lamp(rng: Rng, clip: npt.NDArray[np.float32]) -> Frame:
    size = clip.shape[1]
    ys, xs = np.mgrid[0:size, 0:size]
    path, radius, dark = random_path(rng, size), rng.uniform(0.2, 0.5) * size, rng.uniform(0.05, 0.5)
    distance = (xs - path[:, :1, None]) ** 2 + (ys - path[:, 1:, None]) ** 2
    glow = dark + (1.1 - dark) * np.exp(-distance / (2 * radius**2))
    return to_frame(clip * glow[..., None])


def fade(rng: Rng, size: int) -> Frame:
    """A scene that fades to or from one colour, or loses its saturation."""
    clip = _base(rng, size).astype(np.float32)
    if rng.random() < 0.3:
        target = np.repeat(clip.mean(-1, keepdims=True), 3, -1)
    else:
        target = np.broadcast_to(np.array(random_color(rng), np.float32), clip.shape)
    progress = ease(rng)[:, None, None, None] * rng.uniform(0.4, 1.0)
    progress = 1 - progress if rng.random() < 0.4 else progress
    return to_frame(clip + progress * (target - clip))


def shadow_play(rng: Rng, size: int) -> Frame:
    """Figures of one colour that move before a lit screen."""
    near, far = distinct_colors(rng, 2, 200)
    if rng.random() < 0.4:
        near, far = ((0, 0, 0), (255, 255, 255)) if rng.random() < 0.5 else ((255, 255, 255), (0, 0, 0))
    things = [random_thing(rng, size, textured=0.0) for _ in range(int(rng.integers(1, 5)))]
    for thing in things:
        thing.colors, thing.rim = [near] * NUM_FRAMES, None
    screen = solid(size, far) if rng.random() < 0.6 else blend(far, random_color(rng), noise_field(rng, size, 2) / 2)
    return draw_scene(screen, things, rng.random() < 0.6)


def cartoon(rng: Rng, size: int) -> Frame:
    """A flat landscape: sky, ground, a sun, houses and trees, and clouds or cars that drive by."""
    sky, ground, sun, wall, roof, leaf, car = distinct_colors(rng, 7)
    horizon = rng.uniform(0.45, 0.8) * size
    backdrop = solid(size, sky)
    backdrop[int(horizon) :] = ground
    if rng.random() < 0.6:
        cv2.circle(backdrop, tuple((rng.uniform(0.1, 0.9, 2) * [size, size / 3]).astype(int).tolist()),
                   int(rng.uniform(0.05, 0.14) * size), sun, -1, cv2.LINE_AA)  # fmt: skip
    for _ in range(int(rng.integers(1, 5))):
        _landmark(rng, backdrop, horizon, (wall, roof) if rng.random() < 0.5 else (wall, leaf))
    clip = np.repeat(backdrop[None], NUM_FRAMES, 0)
    start, speed = rng.uniform(0, size), rng.uniform(-0.09, 0.09) * size
    y, w = (horizon if rng.random() < 0.6 else rng.uniform(0.1, 0.3) * size), rng.uniform(0.08, 0.2) * size
    for t, frame in enumerate(clip):
        x = start + speed * t
        fill(frame, np.array([[x - w, y - w / 2], [x + w, y - w / 2], [x + w, y + w / 2], [x - w, y + w / 2]]), car)
        for wheel in (x - w / 2, x + w / 2):
            cv2.circle(frame, (round(wheel), round(y + w / 2)), max(1, round(w / 4)), (20, 20, 20), -1, cv2.LINE_AA)
    return clip


def _landmark(rng: Rng, frame: Frame, horizon: float, colors: tuple[Color, Color]) -> None:
    """Paint one house or tree that stands on the horizon."""
    size = frame.shape[0]
    x, w, h = rng.uniform(0, size), rng.uniform(0.06, 0.16) * size, rng.uniform(0.08, 0.25) * size
    left, right, top = x - w / 2, x + w / 2, horizon - h
    fill(frame, np.array([[left, horizon], [left, top], [right, top], [right, horizon]]), colors[0])
    fill(frame, np.array([[x - w, top], [x + w, top], [x, top - w]]), colors[1])


def cells(rng: Rng, size: int) -> Frame:
    """Soft round bodies that drift, swell and divide in a noisy medium, as under a microscope."""
    body, core, medium = (np.array(random_color(rng), np.float32) for _ in range(3))
    count = int(rng.integers(2, 12))
    start, drift = rng.uniform(0, size, (count, 2)), rng.normal(0, 0.012, (count, 2)) * size
    radius, growth = rng.uniform(0.03, 0.12, count) * size, rng.normal(0, 0.03, count)
    aspect, angle = rng.uniform(0.6, 1, count), rng.uniform(0, 180, count)
    blur, haze = rng.uniform(0.5, 1.5), noise_field(rng, size, 6)[..., None] * rng.uniform(0, 40)
    frames = []
    for t in range(NUM_FRAMES):
        canvas = np.ascontiguousarray(medium + haze, np.float32)
        for i in range(count):
            x, y = ((start[i] + drift[i] * t) * 16).astype(int).tolist()
            r = radius[i] * (1 + growth[i] * t) * 16
            axes = (max(1, int(r)), max(1, int(r * aspect[i])))
            for share, color in ((1, body), (2, core)):
                part = (axes[0] // share, axes[1] // share)
                cv2.ellipse(canvas, (x, y), part, float(angle[i]), 0, 360, color.tolist(), -1, cv2.LINE_AA, 4)
        frames.append(cv2.GaussianBlur(canvas, (0, 0), blur))
    clip = np.stack(frames) + rng.normal(0, rng.uniform(0, 6), (NUM_FRAMES, size, size, 1))
    return to_frame(clip)
