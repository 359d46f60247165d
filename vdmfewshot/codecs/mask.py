"""Binary masks: white object on black, read with a guarded Otsu threshold."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.frame import on_canvas
from vdmfewshot.codecs.labelmap import IGNORE

#: least difference of the two class means, of 255, for a frame to hold an object *and* a background; without such a
#: guard Otsu splits the noise of an empty mask in half
GUARD = 90.0


class MaskCodec(Codec[NDArray[np.bool_]]):
    """Label = (h, w) bool of the source size; white object on black (arXiv 2506.07280).

    Where pixels are to be ignored, a label is (h, w) uint8 of 0, 1 and 255, and these pixels are drawn black.
    """

    def encode(self, label: NDArray[np.bool_] | NDArray[np.uint8], box: Letterbox) -> NDArray[np.uint8]:
        """Draw the mask, with soft edges where it is resized, so that sub-pixel outlines survive.

        Raises:
            ValueError: if the label is not a (h, w) bool array of the source size, or uint8 of 0, 1 and 255.
        """
        if label.dtype == np.uint8 and not ((label > 1) & (label != IGNORE)).any():
            label = label == 1
        if label.dtype != np.bool_ or label.ndim != 2:
            raise ValueError(f"a mask label must be a (h, w) bool array, got {label.shape} {label.dtype}")
        return box.place(np.repeat(label[..., None].astype(np.uint8) * np.uint8(255), 3, axis=2))

    def decode(
        self, frame: NDArray[np.floating[Any]] | NDArray[np.uint8], box: Letterbox
    ) -> Decoded[NDArray[np.bool_]]:
        """Threshold the frame at source resolution.

        The frame is projected on the background-foreground axis (black to white), restored to the source size as
        floats and split by Otsu's threshold. Where the class means differ by less than ``GUARD`` the mask is empty or
        full, by its mean.

        Returns:
            mask, with the separation of the class means (of 255) as confidence and ``threshold``, ``separation``.
        """
        level = on_canvas(frame, box).mean(axis=2)
        picture = box.restore(level)
        threshold, separation = otsu(picture)
        if separation <= GUARD:
            threshold = 127.5
            mask = np.full(box.source, bool(picture.mean() > threshold))
        else:
            mask = picture > threshold
        details = {"threshold": threshold, "separation": separation}
        return Decoded(mask, confidence=min(1.0, separation / 255.0), details=details)

    def spec(self) -> dict[str, Any]:
        """No arguments."""
        return {}


def otsu(level: NDArray[np.float32]) -> tuple[float, float]:
    """Otsu threshold of values in [0, 255], moved to the middle of the two class means, and their difference.

    The middle is where a blurred edge has its true position; Otsu's own value lies anywhere in the gap.
    """
    eight_bit = np.rint(np.clip(level, 0.0, 255.0)).astype(np.uint8)
    split, _ = cv2.threshold(eight_bit, 0, 255, cv2.THRESH_OTSU)
    above = eight_bit > split
    if above.all() or not above.any():
        return 127.5, 0.0
    low, high = float(level[~above].mean()), float(level[above].mean())
    return (low + high) / 2.0, high - low
