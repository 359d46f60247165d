"""One of several classes as an answer: the whole frame in the class's colour."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.frame import on_canvas
from vdmfewshot.codecs.palette import Color, max_min_palette, squared_distances

#: what failed frames show: no class has these colours, or one near them
NO_ANSWER: tuple[Color, ...] = ((0, 0, 0), (128, 128, 128), (255, 255, 255))


class AnswerCodec(Codec[int]):
    """Label = a whole number below ``num_classes``; the frame is filled with the class's colour.

    Args:
        num_classes: 2 to 16 classes.
    """

    def __init__(self, num_classes: int) -> None:
        if not 2 <= num_classes <= 16:
            raise ValueError(f"num_classes must be 2 to 16 for answers by colour, got {num_classes}")
        self.num_classes = num_classes

    @property
    def palette(self) -> tuple[Color, ...]:
        """Colour of each class, far from each other and from black, grey and white."""
        return max_min_palette(self.num_classes, anchors=NO_ANSWER)

    def encode(self, label: int, box: Letterbox) -> NDArray[np.uint8]:
        """A frame of one colour.

        Raises:
            ValueError: if the label is not a class.
        """
        if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label < self.num_classes:
            raise ValueError(f"a class must be a whole number from 0 to {self.num_classes - 1}, got {label!r}")
        return np.full((*box.canvas, 3), self.palette[label], dtype=np.uint8)

    def decode(self, frame: NDArray[np.floating[Any]] | NDArray[np.uint8], box: Letterbox) -> Decoded[int]:
        """The class of whose colour the most pixels are.

        Returns:
            the class; confidence is its share of the pixels minus that of the second, 0 if black, grey or white have
            more. Details hold both shares.
        """
        picture = on_canvas(frame, box).reshape(-1, 3)
        colors = np.array([*self.palette, *NO_ANSWER], dtype=np.float32)
        shares = np.bincount(squared_distances(picture, colors).argmin(axis=1), minlength=len(colors)) / len(picture)
        first, second = np.sort(shares[: self.num_classes])[::-1][:2]
        answered = first > shares[self.num_classes :].sum()
        confidence = float(first - second) if answered else 0.0
        label = int(shares[: self.num_classes].argmax())
        return Decoded(label, confidence, {"share": float(first), "second": float(second)})

    def spec(self) -> dict[str, Any]:
        """Number of classes."""
        return {"num_classes": self.num_classes}
