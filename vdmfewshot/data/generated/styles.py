"""Styles as functions of a picture: pixel art, a mosaic, a woodcut. No painting is shipped, so they are drawn."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.drawing.canvas import Frame

#: blocks and mosaic cells a side; levels a channel of blocks and woodcut
BLOCKS, CELLS, LEVELS = 16, 9, 5
#: brightness step between neighbours that a woodcut draws as a line
LINE = 28.0


def pixels(image: Frame) -> Frame:
    """16 x 16 blocks of their mean colour, in 5 levels a channel: pixel art."""
    small = cv2.resize(image, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(posterised(small), image.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def posterised(image: Frame) -> Frame:
    """The picture in 5 levels a channel."""
    step = 255 / (LEVELS - 1)
    return np.asarray(np.rint(np.rint(image / step) * step), np.uint8)


def mosaic(image: Frame) -> Frame:
    """Flat cells of their mean colour with dark joints; the cells are the same in every picture: cubism, from afar."""
    cells, joints = mosaic_cells(len(image))
    flat = image.reshape(-1, 3).astype(np.float64)
    counts = np.maximum(np.bincount(cells.ravel(), minlength=CELLS**2), 1)
    means = np.stack([np.bincount(cells.ravel(), flat[:, c], CELLS**2) / counts for c in range(3)], axis=1)
    painted = np.rint(means[cells]).astype(np.uint8)
    painted[joints] //= 3
    return painted


@functools.lru_cache(maxsize=8)
def mosaic_cells(size: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(size, size) number of each pixel's cell, nearest of shaken lattice points, and where cells meet."""
    shaken = np.random.default_rng(0).uniform(-0.4, 0.4, (CELLS, CELLS, 2))
    lattice = np.stack(np.meshgrid(*[np.arange(CELLS) + 0.5] * 2, indexing="ij"), axis=-1)
    points = ((lattice + shaken) * size / CELLS).reshape(-1, 2)
    pixel = np.stack(np.meshgrid(*[np.arange(size) + 0.5] * 2, indexing="ij"), axis=-1)
    cells = ((pixel[:, :, None] - points) ** 2).sum(axis=-1).argmin(axis=-1)
    joints = np.zeros(cells.shape, bool)
    joints[:-1] |= cells[:-1] != cells[1:]
    joints[:, :-1] |= cells[:, :-1] != cells[:, 1:]
    return cells, joints


def woodcut(image: Frame) -> Frame:
    """Even areas in few colours with black outlines: a woodblock print."""
    smooth = cv2.bilateralFilter(image, 7, 60, 5)
    grey = cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY).astype(np.float32)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 4
    painted = posterised(smooth)
    painted[gradient > LINE] = 0
    return painted
