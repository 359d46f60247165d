"""Depth of physics scenes: objects that fell on a plane, seen by pybullet's software renderer (extra ``physics``)."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np

from vdmfewshot.data.generated.pictures import Labelled
from vdmfewshot.data.generated.scenes import Part
from vdmfewshot.drawing.canvas import Floats, Frame, Rng

#: pybullet's random objects: those that only queries show, and those that only supports show
QUERY_OBJECTS, SUPPORT_OBJECTS = range(900, 1000), range(700, 900)
#: distances in metres that are drawn white and black
NEAR, FAR = 0.35, 1.1
#: clipping planes of the camera
PLANES = (0.05, 5.0)
#: simulated steps of 1/240 s: about a second and a half of falling and rolling
STEPS = 360


def available() -> bool:
    """Whether pybullet is installed."""
    return importlib.util.find_spec("pybullet") is not None


@functools.cache
def _client() -> tuple[Any, str]:
    """(pybullet with one world of this process, folder of its models)."""
    import pybullet
    import pybullet_data

    pybullet.connect(pybullet.DIRECT)
    return pybullet, str(pybullet_data.getDataPath())


def depth(rng: Rng, size: int, part: Part) -> Labelled:
    """Three to six objects on a plane, and their distances from the camera plane: near white, far black."""
    bullet, folder = _client()
    drop_objects(rng, bullet, folder, QUERY_OBJECTS if part == "query" else SUPPORT_OBJECTS)
    angle = rng.uniform(0, 2 * np.pi)
    eye = [0.55 * np.cos(angle), 0.55 * np.sin(angle), rng.uniform(0.3, 0.5)]
    view = bullet.computeViewMatrix(eye, [0, 0, 0.05], [0, 0, 1])
    projection = bullet.computeProjectionMatrixFOV(50, 1.0, *PLANES)
    light = [*rng.uniform(-1, 1, 2).tolist(), 1.5]
    _, _, rgb, buffer, _ = bullet.getCameraImage(
        size, size, view, projection, lightDirection=light, renderer=bullet.ER_TINY_RENDERER
    )
    image: Frame = np.ascontiguousarray(np.reshape(rgb, (size, size, 4))[..., :3], np.uint8)
    return image, grey_depth(np.reshape(buffer, (size, size)).astype(np.float64))


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


def grey_depth(buffer: Floats) -> Frame:
    """OpenGL depth buffer (S, S) in [0, 1] → (S, S, 3) grey, linear in metres between ``NEAR`` and ``FAR``."""
    near, far = PLANES
    metres = far * near / (far - (far - near) * buffer)
    level = 255 * np.clip((FAR - metres) / (FAR - NEAR), 0, 1)
    return np.repeat(np.rint(level).astype(np.uint8)[..., None], 3, axis=2)
