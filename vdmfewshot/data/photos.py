"""Pictures that an annotation file states the size of: read upright, and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.data.orientation import Exif, choose_turn
from vdmfewshot.data.pictures import named, read_orientation, read_picture


def read_sized(file: Path, size: tuple[int, int] | None, exif: Exif) -> tuple[NDArray[np.uint8], int]:
    """Read the picture of an annotation.

    Args:
        file: the picture.
        size: (height, width) that the annotations are in, if they say.
        exif: how labels of turned photos were drawn.

    Returns:
        (h, w, 3) uint8 upright, and the EXIF orientation by which its labels have to be turned (1 for none).

    Raises:
        ValueError: naming both sizes if it is of another one, or if it cannot be told how labels were drawn.
    """
    image = read_picture(file)
    orientation = read_orientation(file)
    upright = (image.shape[0], image.shape[1])
    stored = upright[::-1] if orientation >= 5 else upright
    with named(file):
        turn = choose_turn(orientation, size in (None, upright), size in (None, stored), exif)
    expected = stored if turn > 1 else upright
    if size is not None and size != expected:
        raise ValueError(
            f"{file}: {expected[1]} x {expected[0]} pixels, the annotation file says {size[1]} x {size[0]}: the "
            "picture was resized after labelling; use the pictures that were labelled, or export the labels again"
        )
    return image, turn
