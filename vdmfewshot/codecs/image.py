"""Images as targets: style transfer, colourisation, inpainting, anything whose label is a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.frame import on_canvas


class ImageCodec(Codec[NDArray[np.uint8]]):
    """Label = (h, w, 3) uint8 RGB of the source size, letterboxed on black.

    Bijective when source and canvas have the same size; otherwise as faithful as resampling allows.
    """

    def encode(self, label: NDArray[np.uint8], box: Letterbox) -> NDArray[np.uint8]:
        """Place the picture on the canvas.

        Raises:
            ValueError: if the label is not (h, w, 3) uint8 of the source size.
        """
        if label.dtype != np.uint8 or label.ndim != 3 or label.shape[2] != 3:
            raise ValueError(f"an image label must be (h, w, 3) uint8 RGB, got {label.shape} {label.dtype}")
        return box.place(label)

    def decode(
        self, frame: NDArray[np.floating[Any]] | NDArray[np.uint8], box: Letterbox
    ) -> Decoded[NDArray[np.uint8]]:
        """Cut the picture out and resize it to the source size. Every frame is a picture, so confidence is 1."""
        picture = box.restore(on_canvas(frame, box))
        return Decoded(np.rint(np.clip(picture, 0.0, 255.0)).astype(np.uint8), confidence=1.0)

    def spec(self) -> dict[str, Any]:
        """No arguments."""
        return {}
