"""Depth and normals of objects that fell on a plane, seen by pybullet's software renderer (extra ``physics``)."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from vdmfewshot.data.generated.pictures import Labelled
from vdmfewshot.data.generated.scenes import Part
from vdmfewshot.drawing.canvas import Floats, Frame, Rng

#: pybullet's random objects: those that only queries show, and those that only supports show
QUERY_OBJECTS, SUPPORT_OBJECTS = range(900, 1000), range(700, 900)
#: distances in metres that are drawn white and black
NEAR, FAR = 0.35, 1.1
#: field of view in degrees and clipping planes of the camera
FIELD = 50.0
PLANES = (0.05, 5.0)
#: simulated steps of 1/240 s: about a second and a half of falling and rolling
STEPS = 360


def available() -> bool:
    """Whether pybullet is installed."""
    return importlib.util.find_spec("pybullet") is not None


@contextmanager
def _mute() -> Iterator[None]:
    """Without what C code prints: pybullet greets with its build time, past ``sys.stdout`` and ``sys.stderr``."""
    streams = (1, 2)
    kept = [os.dup(stream) for stream in streams]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in streams:
            os.dup2(nowhere, stream)
        yield
    finally:
        for stream, copy in zip(streams, kept, strict=True):
            os.dup2(copy, stream)
        for copy in (*kept, nowhere):
            os.close(copy)


@functools.cache
def _client() -> tuple[Any, str]:
    """(pybullet with one world of this process, folder of its models)."""
    with _mute():
        import pybullet
        import pybullet_data

    pybullet.connect(pybullet.DIRECT)
    return pybullet, str(pybullet_data.getDataPath())


def depth(rng: Rng, size: int, part: Part) -> Labelled:
    """Three to six objects on a plane, and their distances from the camera plane: near white, far black."""
    image, metres = metric_depth(rng, size, part)
    return image, grey_depth(metres)


def normals(rng: Rng, size: int, part: Part) -> Labelled:
    """Three to six objects on a plane, and the (size, size, 3) unit normals of what is seen, in camera axes."""
    image, metres = metric_depth(rng, size, part)
    return image, surface_normals(metres)


def metric_depth(rng: Rng, size: int, part: Part) -> Labelled:
    """Three to six objects on a plane, and their distances from the camera plane, (size, size) metres."""
    bullet, folder = _client()
    drop_objects(rng, bullet, folder, QUERY_OBJECTS if part == "query" else SUPPORT_OBJECTS)
    angle = rng.uniform(0, 2 * np.pi)
    eye = [0.55 * np.cos(angle), 0.55 * np.sin(angle), rng.uniform(0.3, 0.5)]
    view = bullet.computeViewMatrix(eye, [0, 0, 0.05], [0, 0, 1])
    projection = bullet.computeProjectionMatrixFOV(FIELD, 1.0, *PLANES)
    light = [*rng.uniform(-1, 1, 2).tolist(), 1.5]
    _, _, rgb, buffer, _ = bullet.getCameraImage(
        size, size, view, projection, lightDirection=light, renderer=bullet.ER_TINY_RENDERER
    )
    image: Frame = np.ascontiguousarray(np.reshape(rgb, (size, size, 4))[..., :3], np.uint8)
    return image, in_metres(np.reshape(buffer, (size, size)).astype(np.float64))


def drop_objects(rng: Rng, bullet: Any, folder: str, objects: range) -> None:
    """Fill the world with a coloured plane and objects that have come to rest on it."""
    bullet.resetSimulation()
    bullet.setGravity(0, 0, -10)
    plane = bullet.loadURDF(f"{folder}/plane.urdf")
    bullet.changeVisualShape(plane, -1, rgbaColor=[*rng.uniform(0.2, 1, 3).tolist(), 1])
    for height in range(int(rng.integers(3, 7))):
        name = f"{int(rng.choice(objects)):03d}"
        position = [*rng.uniform(-0.12, 0.12, 2).tolist(), 0.1 + 0.12 * height]
        turn = rng.normal(size=4)
        bullet.loadURDF(
            f"{folder}/random_urdfs/{name}/{name}.urdf",
            position,
            (turn / np.linalg.norm(turn)).tolist(),
            globalScaling=1.5,
        )
    for _ in range(STEPS):
        bullet.stepSimulation()


def in_metres(buffer: Floats) -> Floats:
    """OpenGL depth buffer in [0, 1] → metres."""
    near, far = PLANES
    return far * near / (far - (far - near) * buffer)


def surface_normals(metres: Floats) -> Floats:
    """(S, S) depth → (S, S, 3) unit normals, x right, y up, z to the viewer: across the surface between neighbours."""
    size = len(metres)
    ray = (np.arange(size) + 0.5 - size / 2) * 2 * np.tan(np.radians(FIELD) / 2) / size
    points = np.stack([ray[None] * metres, -ray[:, None] * metres, -metres], axis=-1)
    across, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    normal = np.cross(down, across)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-12))


def grey_depth(metres: Floats) -> Frame:
    """(S, S) metres → (S, S, 3) grey, linear between ``NEAR`` and ``FAR``."""
    level = 255 * np.clip((FAR - metres) / (FAR - NEAR), 0, 1)
    return np.repeat(np.rint(level).astype(np.uint8)[..., None], 3, axis=2)
