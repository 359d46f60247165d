"""How a picture of any size sits on the fixed canvas that a video model sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Letterbox:
    """Aspect-preserving, centred placement of a source picture on a canvas; exactly invertible for points.

    Coordinates are continuous pixels with the centre of the top-left pixel at (0.5, 0.5), as in COCO.

    Attributes:
        source: (height, width) of the original picture in pixels.
        canvas: (height, width) of the frame given to the backbone in pixels.
    """

    source: tuple[int, int]
    canvas: tuple[int, int]

    @property
    def scale(self) -> float:
        """Canvas pixels per source pixel."""
        return min(self.canvas[0] / self.source[0], self.canvas[1] / self.source[1])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the resized picture on the canvas, at least one pixel each."""
        height, width = (max(1, round(side * self.scale)) for side in self.source)
        return height, width

    @property
    def offset(self) -> tuple[int, int]:
        """(top, left) of the resized picture on the canvas, in pixels."""
        return (self.canvas[0] - self.size[0]) // 2, (self.canvas[1] - self.size[1]) // 2

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of the resized picture within a (H, W, ...) canvas array."""
        (top, left), (height, width) = self.offset, self.size
        return slice(top, top + height), slice(left, left + width)

    def place(self, picture: NDArray[np.uint8], *, fill: int = 0, nearest: bool = False) -> NDArray[np.uint8]:
        """Draw a (h, w) or (h, w, C) source picture on a canvas filled with ``fill``.

        Args:
            picture: uint8 array of the source size.
            fill: value of the canvas outside the picture, 0-255.
            nearest: keep label values (no interpolation) instead of area or linear resampling.

        Raises:
            ValueError: if ``picture`` is not of the source size.
        """
        if picture.shape[:2] != self.source:
            raise ValueError(f"picture must be of size {self.source} (height, width), got {picture.shape[:2]}")
        canvas = np.full((*self.canvas, *picture.shape[2:]), fill, dtype=np.uint8)
        canvas[self.window] = resize(picture, self.size, nearest=nearest)
        return canvas

    def restore(self, picture: NDArray[np.float32], *, nearest: bool = False) -> NDArray[np.float32]:
        """Cut the picture out of a (H, W, ...) canvas and resize it to the source size."""
        return resize(np.ascontiguousarray(picture[self.window]), self.source, nearest=nearest)

    def points_to_canvas(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (..., 2) source points (x, y) in pixels to canvas pixels."""
        return points * self._scale_xy() + np.array(self.offset[::-1], dtype=np.float64)

    def points_to_source(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inverse of ``points_to_canvas``."""
        return (points - np.array(self.offset[::-1], dtype=np.float64)) / self._scale_xy()

    def _scale_xy(self) -> NDArray[np.float64]:
        # The rounded size, not ``scale``: the picture was resized to whole pixels.
        return np.array([self.size[1] / self.source[1], self.size[0] / self.source[0]])


def resize(picture: NDArray[T], size: tuple[int, int], *, nearest: bool = False) -> NDArray[T]:
    """Resize a (h, w, ...) array to ``size`` (height, width); area averaging when it shrinks, linear when it grows."""
    height, width = size
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = height * width < picture.shape[0] * picture.shape[1]
    mode = cv2.INTER_NEAREST_EXACT if nearest else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: NDArray[T] = cv2.resize(picture, (width, height), interpolation=mode).reshape(
        height, width, *picture.shape[2:]
    )
    return resized
