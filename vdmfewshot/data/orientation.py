"""Photos that a camera stored lying on their side: was a label drawn on the stored or on the upright picture?"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

#: how labels of turned photos were drawn; ``auto`` goes by the sizes and asks where they do not tell
Exif = Literal["auto", "upright", "stored"]
Size = tuple[int, int]
T = TypeVar("T", bound=np.generic)


def turned(label: NDArray[T], orientation: int) -> NDArray[T]:
    """A (h, w, ...) array in stored pixels as EXIF orientation 1-8 shows it."""
    views = {
        1: label,
        2: label[:, ::-1],
        3: label[::-1, ::-1],
        4: label[::-1],
        5: label.swapaxes(0, 1),
        6: np.rot90(label, -1),
        7: label[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(label),
    }
    return np.ascontiguousarray(views[orientation])


def turned_points(points: NDArray[np.float64], orientation: int, stored: Size) -> NDArray[np.float64]:
    """(..., 2) points x, y in pixels of a stored (height, width) picture, as they lie in the upright one."""
    height, width = stored
    x, y = points[..., 0], points[..., 1]
    views = {
        1: (x, y),
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }
    return np.stack(views[orientation], axis=-1)


def turned_box(box: tuple[float, float, float, float], orientation: int, stored: Size) -> tuple[float, ...]:
    """(x, y, width, height) of a box in the stored picture, as it lies in the upright one."""
    x, y, width, height = box
    corners = turned_points(np.array([[x, y], [x + width, y + height]]), orientation, stored)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return (*low.tolist(), *(high - low).tolist())


def choose_turn(orientation: int, fits_upright: bool, fits_stored: bool, exif: Exif) -> int:
    """The EXIF orientation to apply to a label; 1 for none.

    Args:
        orientation: that of the photo.
        fits_upright: whether the label has the size of the upright photo.
        fits_stored: whether it has that of the stored one.
        exif: what the user says.

    Raises:
        ValueError: if both are possible and the user does not say.
    """
    if orientation == 1 or exif == "upright":
        return 1
    if exif == "stored":
        return orientation
    if fits_upright and fits_stored:
        raise ValueError(
            f"its photo is turned by EXIF orientation {orientation}, and the label fits both ways: say how "
            "labels were drawn, --data.exif upright (as viewers show the photo) or --data.exif stored (as it was saved)"
        )
    return orientation if fits_stored else 1


def place_label(label: NDArray[Any], image: NDArray[Any], orientation: int, exif: Exif) -> NDArray[Any]:
    """Turn a label with its photo where that is how it was drawn; sizes are compared by aspect ratio."""
    if orientation == 1:
        return label
    moved = turned(label, orientation)
    if moved.shape == label.shape and np.array_equal(moved, label):
        return label
    upright, stored = (same_aspect(array, image) for array in (label, moved))
    return turned(label, choose_turn(orientation, upright, stored, exif))


def same_aspect(a: NDArray[Any], b: NDArray[Any], tolerance: float = 0.01) -> bool:
    """Whether two pictures have one ratio of width and height, up to the rounding of a resized copy."""
    return bool(abs(a.shape[0] * b.shape[1] / (a.shape[1] * b.shape[0]) - 1) <= tolerance)
