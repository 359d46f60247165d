"""Augmentation as finite, numbered variants, so that the latents of every variant can be cached."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.clip import Pair

#: (pair, variant) → the pair seen differently; variant 0 is the pair itself; picklable
Augmenter = Callable[[Pair, int], Pair]


def unchanged(pair: Pair, variant: int) -> Pair:
    """The augmenter of data modules that have none."""
    return pair


@dataclass(frozen=True)
class Jitter:
    """Mirrors, scales, turns and shifts an input and its picture, mask or label map together.

    Variant 1 is the mirror image; of the others, the odd ones are mirrored too. Beyond the border the picture is
    reflected, and its target with it.

    Attributes:
        seed: seed of the draws; a variant is a pure function of seed, key and number.
        scale: largest zoom in or out, as a factor.
        angle: largest rotation in degrees.
        shift: largest translation as a share of each side.
    """

    seed: int = 0
    scale: float = 1.25
    angle: float = 15.0
    shift: float = 0.1

    def __call__(self, pair: Pair, variant: int) -> Pair:
        """The pair's version ``variant``; 0 is the pair itself."""
        if variant == 0:
            return pair
        matrix = self.matrix(pair, variant)
        target = warp(np.asarray(pair.target), matrix, cv2.BORDER_REFLECT_101)
        return variant_of(pair, variant, warp(pair.image, matrix, cv2.BORDER_REFLECT_101), target)

    def matrix(self, pair: Pair, variant: int) -> NDArray[np.float64]:
        """(2, 3) affine map of source pixels (x, y); pixel centres lie at .5, as in ``geometry``."""
        height, width = pair.image.shape[:2]
        zoom, angle, right, down = 1.0, 0.0, 0.0, 0.0
        if variant > 1:
            u = np.random.default_rng([self.seed, variant, zlib.crc32(pair.key.encode())]).uniform(-1, 1, 4)
            zoom, angle = self.scale ** u[0], math.radians(self.angle * u[1])
            right, down = u[2] * self.shift * width, u[3] * self.shift * height
        mirror = -1.0 if variant % 2 else 1.0
        cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
        linear = np.array([[mirror * cos, -sin], [mirror * sin, cos]])
        centre = np.array([width, height]) / 2
        return np.column_stack([linear, centre + np.array([right, down]) - linear @ centre])


@dataclass(frozen=True)
class PoseJitter(Jitter):
    """As ``Jitter`` for keypoints: left and right change places in mirror images, and joints outside are dropped.

    Beyond the border the picture is black: reflected limbs would contradict the labels.

    Attributes:
        mirrored: for each joint, the joint it becomes in a mirror image.
    """

    mirrored: tuple[int, ...] = ()

    def __call__(self, pair: Pair, variant: int) -> Pair:
        """The pair's version ``variant``; 0 is the pair itself."""
        if variant == 0:
            return pair
        matrix = self.matrix(pair, variant)
        points = np.array(pair.target, dtype=np.float64)
        points[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        inside = ((points[:, :2] >= 0) & (points[:, :2] <= pair.image.shape[1::-1])).all(axis=1)
        points[~inside | (points[:, 2] == 0)] = 0.0
        if variant % 2:
            points = points[list(self.mirrored)]
        return variant_of(pair, variant, warp(pair.image, matrix, cv2.BORDER_CONSTANT), points)


def warp(picture: NDArray[Any], matrix: NDArray[np.float64], border: int) -> NDArray[Any]:
    """Apply a source → destination map to a (h, w, 3) picture (linear) or a (h, w) label map or mask (nearest)."""
    height, width = picture.shape[:2]
    # OpenCV has pixel centres at whole numbers: move them by half a pixel on both sides of the map.
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    mode = cv2.INTER_LINEAR if picture.ndim == 3 else cv2.INTER_NEAREST
    moved = cv2.warpAffine(picture.astype(np.uint8), shifted, (width, height), flags=mode, borderMode=border)
    return np.asarray(moved).astype(picture.dtype)


def variant_of(pair: Pair, variant: int, image: NDArray[np.uint8], target: Any) -> Pair:
    """The pair with another picture and label and a key of its own."""
    return replace(pair, key=f"{pair.key}.v{variant}", image=image, target=target)
