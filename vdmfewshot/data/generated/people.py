"""Rendered people: figures that face the camera, with exact joints. COCO's joints without eyes and ears."""

from __future__ import annotations

import cv2
import numpy as np

from vdmfewshot.data.generated.pictures import Labelled
from vdmfewshot.data.generated.scenes import Part, contrasting
from vdmfewshot.drawing.canvas import Color, Floats, Frame, Rng, texture
from vdmfewshot.metrics.keypoint_ap import COCO_SIGMAS

#: indices among COCO's 17: nose, shoulders, elbows, wrists, hips, knees, ankles; left is odd, right even
COCO_JOINTS = (0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
SIGMAS = tuple(COCO_SIGMAS[joint] for joint in COCO_JOINTS)
#: limbs as (from, to) in that order of 13 joints
ARMS = ((1, 3), (3, 5), (2, 4), (4, 6))
LEGS = ((7, 9), (9, 11), (8, 10), (10, 12))
SKINS: tuple[Color, ...] = ((244, 208, 177), (224, 172, 105), (141, 85, 36), (88, 57, 39))


def rendered_person(rng: Rng, size: int, part: Part) -> Labelled:
    """A clothed figure in a random posture before a texture, and its joints (13, 3): x, y, visibility 2."""
    image = texture(rng, size, photos=False)
    height = rng.uniform(0.7, 0.9) * size
    joints = posture(rng, height)
    low, high = joints.min(axis=0), joints.max(axis=0)
    head = 0.09 * height
    room = size - (high - low) - 2 * head
    joints += rng.uniform(0, 1, 2) * np.maximum(room, 0) - low + head
    joints = np.clip(joints, 0.5, size - 0.5)
    draw_figure(rng, image, joints, height)
    return image, np.column_stack([joints, np.full(len(joints), 2.0)])


def posture(rng: Rng, height: float) -> Floats:
    """Joints (13, 2) of a figure ``height`` pixels tall that faces the camera; its left is the viewer's right."""
    hip, lean = np.zeros(2), rng.normal(0, 0.12)
    up = np.array([np.sin(lean), -np.cos(lean)])
    across = np.array([-up[1], up[0]])
    neck = hip + 0.3 * height * up
    nose = neck + 0.12 * height * (up + rng.normal(0, 0.08) * across)
    joints = [nose]
    sides = (1.0, -1.0)
    shoulders = [neck + side * 0.11 * height * across for side in sides]
    hips = [hip + side * 0.07 * height * across for side in sides]
    elbows = [
        limb(start, 0.17 * height, side * rng.uniform(0.1, 2.4)) for start, side in zip(shoulders, sides, strict=True)
    ]
    wrists = [
        limb(start, 0.16 * height, side * rng.uniform(-0.4, 2.9)) for start, side in zip(elbows, sides, strict=True)
    ]
    knees = [limb(start, 0.24 * height, side * rng.uniform(-0.1, 0.7)) for start, side in zip(hips, sides, strict=True)]
    ankles = [
        limb(start, 0.24 * height, side * rng.uniform(-0.4, 0.4)) for start, side in zip(knees, sides, strict=True)
    ]
    return np.array([*joints, *shoulders, *elbows, *wrists, *hips, *knees, *ankles])


def limb(start: Floats, length: float, angle: float) -> Floats:
    """The end of a limb that hangs from ``start``; radians from straight down to the viewer's right."""
    return np.asarray(start + length * np.array([np.sin(angle), np.cos(angle)]))


def draw_figure(rng: Rng, image: Frame, joints: Floats, height: float) -> None:
    """Paint legs, trunk, arms and head in place, in colours that stand out from the background."""
    skin, shirt, trousers = SKINS[int(rng.integers(len(SKINS)))], contrasting(rng, image), contrasting(rng, image)
    thick = max(2, round(0.075 * height))
    for a, b in LEGS:
        _line(image, joints[a], joints[b], trousers, thick)
    trunk = np.round(joints[[1, 2, 8, 7]] * 16).astype(np.int32)
    cv2.fillPoly(image, [trunk], shirt, cv2.LINE_AA, 4)
    for i, (a, b) in enumerate(ARMS):
        _line(image, joints[a], joints[b], skin if i % 2 else shirt, max(2, thick * 2 // 3))
    center = np.round(joints[0] * 16).astype(int).tolist()
    cv2.circle(image, center, round(0.08 * height * 16), skin, -1, cv2.LINE_AA, 4)


def _line(image: Frame, start: Floats, end: Floats, color: Color, thickness: int) -> None:
    a, b = (np.round(point * 16).astype(int).tolist() for point in (start, end))
    cv2.line(image, a, b, color, thickness, cv2.LINE_AA, 4)
