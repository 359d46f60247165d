"""Whatever a model or a user hands to a decoder, as a clean frame of the canvas size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.geometry import Letterbox, resize
from vdmfewshot.codecs.base import sanitize


def on_canvas(frame: NDArray[Any], box: Letterbox) -> NDArray[np.float32]:
    """Any numeric frame → (H, W, 3) float32 in [0, 255] of ``box.canvas`` size.

    Grey and single-channel frames are repeated, channels after the third dropped, a frame of another size is
    stretched to the canvas and one without pixels is black: decoders never raise on what a model produced.
    """
    with np.errstate(all="ignore"):
        clean = sanitize(frame)
    if clean.ndim == 2:
        clean = clean[..., None]
    if clean.ndim != 3 or clean.size == 0:
        return np.zeros((*box.canvas, 3), dtype=np.float32)
    rgb = clean[..., :3] if clean.shape[2] >= 3 else np.repeat(clean[..., :1], 3, axis=2)
    return resize(np.ascontiguousarray(rgb), box.canvas)
