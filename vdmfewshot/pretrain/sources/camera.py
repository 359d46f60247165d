"""Cameras that pan, zoom, turn, swing and stand still over textures, photos and scenes; parallax; reflections."""

from __future__ import annotations

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import (
    NUM_FRAMES,
    TRAIN_PHOTOS,
    Floats,
    Frame,
    Rng,
    ease,
    noise_field,
    photo_bank,
    photo_crop,
    texture,
    to_frame,
)
from vdmfewshot.drawing.things import draw_scene, random_thing

MOST_TURN = 1.2
"""Radians that a picture turns within a clip at most, short of a quarter turn, which is an evaluation task."""


def still_scene(rng: Rng, size: int) -> Frame:
    """A frame (size, size, 3) of random objects before a texture, or a crop of a photo."""
    if rng.random() < 0.3 and photo_bank(TRAIN_PHOTOS):
        return photo_crop(rng, size, TRAIN_PHOTOS)
    things = [random_thing(rng, size) for _ in range(int(rng.integers(1, 7)))]
    return np.ascontiguousarray(draw_scene(texture(rng, size), things, rng.random() < 0.7)[0])


def view(scene: Frame, size: int, shift: Floats, zoom: float, angle: float) -> Frame:
    """What a camera sees of a (S, S, 3) scene: ``shift`` is (x, y) in pixels, ``angle`` in radians."""
    center = (scene.shape[1] - 1) / 2
    matrix = cv2.getRotationMatrix2D((center + shift[0], center + shift[1]), np.degrees(angle), zoom)
    matrix[:, 2] += (size - 1) / 2 - center - shift
    warped = cv2.warpAffine(scene, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, np.uint8)


def moving_camera(rng: Rng, size: int) -> Frame:
    """Pan, zoom and turn over a scene larger than the frame."""
    big = int(size * rng.uniform(1.0, 1.7))
    scene = still_scene(rng, big)
    moves = rng.random(3) < (0.7, 0.5, 0.35)
    room = rng.normal(0, 0.2, 2) * size * moves[0]
    start = rng.uniform(-0.5, 0.5, 2) * (big - size)
    zoom = rng.uniform(0.8, 1.6) ** moves[1]
    turn = float(np.clip(rng.normal(0, 0.5), -MOST_TURN, MOST_TURN)) * moves[2]
    progress = ease(rng)
    return np.stack([view(scene, size, start + p * room, 1 + p * (zoom - 1), p * turn) for p in progress])


def spinning_camera(rng: Rng, size: int) -> Frame:
    """A camera that rolls at a steady speed, so that the scene turns about a point, by less than a quarter turn."""
    scene, pivot = still_scene(rng, size), rng.normal(0, 0.1, 2) * size
    speed = rng.uniform(0.02, MOST_TURN / (NUM_FRAMES - 1)) * rng.choice([-1, 1])
    angles = rng.uniform(-0.3, 0.3) + speed * np.arange(NUM_FRAMES)
    return np.stack([view(scene, size, pivot, 1.0, a) for a in angles])


def swinging_plane(rng: Rng, size: int) -> Frame:
    """A picture on a board that swings in depth about a vertical or a horizontal axis, seen in perspective."""
    board, backdrop = still_scene(rng, size), texture(rng, size)
    half = size * rng.uniform(0.3, 0.5)
    corners = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    axis = int(rng.integers(2))
    angles = rng.uniform(-0.6, 0.6) + ease(rng) * rng.uniform(-1.2, 1.2)
    source = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)
    frames = []
    for angle in angles:
        depth = 1 + corners[:, axis] * np.sin(angle) / (2.5 * half)
        flat = corners.copy()
        flat[:, axis] *= np.cos(angle)
        target = (flat / depth[:, None] + size / 2).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(source, target)
        frame = backdrop.copy()
        cv2.warpPerspective(board, matrix, (size, size), frame, borderMode=cv2.BORDER_TRANSPARENT)
        frames.append(frame)
    return np.stack(frames)


def parallax(rng: Rng, size: int) -> Frame:
    """Layers of objects that pass at speeds which grow with nearness."""
    speed = rng.uniform(-0.08, 0.08) * size
    things = []
    for depth in np.sort(rng.uniform(0.2, 2.0, int(rng.integers(3, 8)))):
        thing = random_thing(rng, size)
        offset = depth * speed * (np.arange(NUM_FRAMES) - 4)
        thing.path = np.stack([rng.uniform(0, size) + offset, np.full(NUM_FRAMES, rng.uniform(0.1, 0.9) * size)], 1)
        thing.scale = np.full(NUM_FRAMES, (0.05 + 0.08 * depth) * size)
        things.append(thing)
    return draw_scene(texture(rng, size), things, True)


def standing_still(rng: Rng, size: int) -> Frame:
    """A scene in which nothing moves; a third of them with sensor noise or flicker."""
    scene = still_scene(rng, size)
    clip = np.repeat(scene[None], NUM_FRAMES, 0)
    kind = rng.random()
    if kind < 0.15:
        noise = rng.normal(0, rng.uniform(2, 8), clip.shape)
        return to_frame(clip + noise)
    if kind < 0.3:
        gain = 1 + rng.normal(0, 0.04, (NUM_FRAMES, 1, 1, 1))
        return to_frame(clip * gain)
    return clip


def water(rng: Rng, size: int) -> Frame:
    """A moving scene above its own rippling, darkened reflection in water."""
    above = moving_camera(rng, size) if rng.random() < 0.5 else standing_still(rng, size)
    line = int(rng.uniform(0.4, 0.65) * size)
    ripple = noise_field(rng, size, 8)[: size - line] - 0.5
    strength, tint = rng.uniform(0, 6), rng.uniform(0.5, 1.0, 3)
    ys, xs = np.mgrid[0 : size - line, 0:size].astype(np.float32)
    clip = above.copy()
    for t, frame in enumerate(clip):
        wave = strength * np.sin(ripple * 12 + t * 0.9).astype(np.float32)
        mirrored = cv2.remap(above[t], xs + wave, line - 1 - ys + wave, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT)
        frame[line:] = (mirrored * tint).astype(np.uint8)
    return clip
