"""Articulated figures: walkers with two or four legs and coloured joints, and swinging chains."""

from __future__ import annotations

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import (
    NUM_FRAMES,
    Color,
    Floats,
    Frame,
    Rng,
    distinct_colors,
    random_color,
    solid,
    texture,
)


def _limb(start: Floats, length: float, angle: float) -> Floats:
    """The end of a limb that hangs from ``start``; angle 0 points down, radians."""
    return start + length * np.array([np.sin(angle), np.cos(angle)])


class Walker:
    """A figure that walks, waves or stands: joint positions as a function of the phase of its gait."""

    def __init__(self, rng: Rng, size: int) -> None:
        """Draw proportions, gait and place for a frame of ``size`` pixels."""
        self.height = rng.uniform(0.25, 0.5) * size
        self.origin = rng.uniform(0.2, 0.8, 2) * size
        self.speed = rng.uniform(-0.06, 0.06) * size * float(rng.random() < 0.7)
        self.phase, self.rate = rng.uniform(0, 6.3), rng.uniform(0.2, 1.0) * float(rng.random() < 0.85)
        self.stride, self.arm_swing = rng.uniform(0.2, 0.8), rng.uniform(0.1, 1.5)
        self.arm_rest, self.lean = rng.uniform(0, 2.8, 2) * np.array([1, -1]), rng.normal(0, 0.15)
        self.legs = 2 if rng.random() < 0.7 else 4

    def bones(self, t: int) -> list[tuple[Floats, Floats]]:
        """Segments (start, end) in pixels at frame ``t``; the first one is the trunk."""
        swing = self.phase + self.rate * t
        hip = self.origin + np.array([self.speed * t, -abs(np.sin(swing)) * 0.04 * self.height])
        trunk = np.pi / 2 if self.legs == 4 else np.pi
        neck = _limb(hip, 0.45 * self.height, trunk + self.lean)
        bones = [(hip, neck)]
        roots = [hip, hip] if self.legs == 2 else [hip, hip, neck, neck]
        for i, root in enumerate(roots):
            thigh = self.stride * np.sin(swing + np.pi * (i % 2) + 0.7 * (i // 2))
            knee = _limb(root, 0.27 * self.height, thigh)
            bend = thigh - 0.6 * self.stride * (1 + np.cos(swing + np.pi * (i % 2)))
            bones += [(root, knee), (knee, _limb(knee, 0.27 * self.height, bend))]
        for i in range(2 if self.legs == 2 else 0):
            angle = self.arm_rest[i] + self.arm_swing * 0.5 * np.sin(swing + np.pi * i)
            elbow = _limb(neck, 0.2 * self.height, angle)
            bones += [(neck, elbow), (elbow, _limb(elbow, 0.2 * self.height, angle * 1.3))]
        return bones


def walkers(rng: Rng, size: int) -> Frame:
    """One to three figures that walk, wave or stand, as sticks with coloured joints or as thick bodies."""
    figures = [Walker(rng, size) for _ in range(int(rng.integers(1, 4)))]
    backdrop = solid(size, random_color(rng)) if rng.random() < 0.4 else texture(rng, size)
    width, dots = max(1, int(rng.uniform(0.01, 0.07) * size)), rng.random() < 0.5
    styles = [_style(rng) for _ in figures]
    frames = []
    for t in range(NUM_FRAMES):
        frame = backdrop.copy()
        for figure, colors in zip(figures, styles, strict=True):
            _draw_figure(frame, figure, t, colors, width, dots)
        frames.append(frame)
    return np.stack(frames)


def _style(rng: Rng) -> list[Color]:
    """Colours of the head and of each bone: one for all, or one each."""
    return distinct_colors(rng, 10) if rng.random() < 0.5 else [random_color(rng)] * 10


def _draw_figure(frame: Frame, figure: Walker, t: int, colors: list[Color], width: int, dots: bool) -> None:
    bones = figure.bones(t)
    for i, (start, end) in enumerate(bones):
        a, b = ((p * 16).astype(int).tolist() for p in (start, end))
        thickness = width * 2 if i == 0 and not dots else width
        cv2.line(frame, a, b, colors[i % 10], thickness, cv2.LINE_AA, 4)
        if dots:
            cv2.circle(frame, b, max(16, int(width * 14)), colors[(i + 3) % 10], -1, cv2.LINE_AA, 4)
    neck = bones[0][1]
    head = neck + (neck - bones[0][0]) * 0.3
    cv2.circle(frame, (head * 16).astype(int).tolist(), int(figure.height * 1.6), colors[9], -1, cv2.LINE_AA, 4)


def chains(rng: Rng, size: int) -> Frame:
    """Ropes of several links that swing from fixed points."""
    backdrop = texture(rng, size)
    ropes = [(rng.uniform(0.2, 0.8) * size, int(rng.integers(1, 5)), rng.uniform(0, 6.3), rng.uniform(0.3, 1.2),
              distinct_colors(rng, 2)) for _ in range(int(rng.integers(1, 4)))]  # fmt: skip
    rate, width = rng.uniform(0.2, 0.9), max(1, int(rng.uniform(0.01, 0.04) * size))
    frames = []
    for t in range(NUM_FRAMES):
        frame = backdrop.copy()
        for x, links, phase, reach, (rope, weight) in ropes:
            point = np.array([x, 0.1 * size])
            for link in range(links):
                end = _limb(point, 0.65 * size / links, reach * np.sin(phase + rate * t - 0.4 * link))
                cv2.line(frame, (point * 16).astype(int).tolist(), (end * 16).astype(int).tolist(), rope, width,
                         cv2.LINE_AA, 4)  # fmt: skip
                point = end
            cv2.circle(frame, (point * 16).astype(int).tolist(), int(1.3 * size), weight, -1, cv2.LINE_AA, 4)
        frames.append(frame)
    return np.stack(frames)
