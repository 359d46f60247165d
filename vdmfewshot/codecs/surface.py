"""Depth as grey and surface normals as colour."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.frame import on_canvas

Floats = NDArray[np.float32]


class DepthCodec(Codec[Floats]):
    """Label = (h, w) distances in metres, drawn linear in grey: ``near`` and less white, ``far`` and more black.

    Exact to half a grey level, (far - near) / 510 metres, within those limits.

    Args:
        near: distance in metres that is drawn white.
        far: distance in metres that is drawn black.
    """

    def __init__(self, near: float, far: float) -> None:
        if not 0 < near < far:
            raise ValueError(f"0 < near < far must hold for depth in metres, got near={near}, far={far}")
        self.near = float(near)
        self.far = float(far)

    def encode(self, label: Floats, box: Letterbox) -> NDArray[np.uint8]:
        """Draw a depth map.

        Raises:
            ValueError: if the label is not (h, w) floating point of finite, positive metres.
        """
        depth = np.asarray(label)
        if depth.ndim != 2 or depth.dtype.kind != "f":
            raise ValueError(f"a depth map must be (h, w) floating point metres, got {depth.shape} {depth.dtype}")
        if not (np.isfinite(depth) & (depth > 0)).all():
            raise ValueError("depths must be finite and above 0 metres; draw unknown ones as far away")
        level = np.clip((self.far - depth) / (self.far - self.near), 0, 1)
        grey = np.rint(255 * level).astype(np.uint8)
        return box.place(np.repeat(grey[..., None], 3, axis=2))

    def decode(self, frame: NDArray[np.floating[Any]] | NDArray[np.uint8], box: Letterbox) -> Decoded[Floats]:
        """Mean of the channels as metres in [near, far]. Confidence is how grey the frame is, 0 for an even one."""
        picture = box.restore(on_canvas(frame, box))
        level = np.clip(picture.mean(axis=2) / 255.0, 0.0, 1.0)
        depth: Floats = (self.far - level * (self.far - self.near)).astype(np.float32)
        colour = float(picture.std(axis=2).mean())
        flat = float(level.std()) * 255.0 < 1.0
        return Decoded(depth, 0.0 if flat else 1.0 / (1.0 + colour / 16.0), {"colour": colour})

    def spec(self) -> dict[str, Any]:
        """Both limits."""
        return {"near": self.near, "far": self.far}


class NormalCodec(Codec[Floats]):
    """Label = (h, w, 3) unit normals in camera axes (x right, y up, z to the viewer), drawn as RGB (n + 1) / 2.

    Exact to about half a degree.
    """

    def encode(self, label: Floats, box: Letterbox) -> NDArray[np.uint8]:
        """Draw normals.

        Raises:
            ValueError: if the label is not (h, w, 3) of unit vectors.
        """
        normals = np.asarray(label)
        if normals.ndim != 3 or normals.shape[2] != 3 or normals.dtype.kind != "f":
            raise ValueError(f"normals must be (h, w, 3) floating point, got {normals.shape} {normals.dtype}")
        lengths = np.linalg.norm(normals, axis=2)
        if not (np.abs(lengths - 1) < 1e-2).all():
            raise ValueError(f"normals must have length 1, got {lengths.min():.3f} to {lengths.max():.3f}")
        return box.place(np.rint(127.5 * (normals + 1)).astype(np.uint8))

    def decode(self, frame: NDArray[np.floating[Any]] | NDArray[np.uint8], box: Letterbox) -> Decoded[Floats]:
        """Unit vectors; confidence is how near to length 1 they were drawn, 0 for an even frame."""
        picture = box.restore(on_canvas(frame, box))
        drawn = picture / 127.5 - 1.0
        lengths = np.linalg.norm(drawn, axis=2, keepdims=True)
        towards = np.array([0.0, 0.0, 1.0], dtype=np.float32)
        normals: Floats = np.where(lengths > 1e-3, drawn / np.maximum(lengths, 1e-3), towards).astype(np.float32)
        error = float(np.abs(lengths - 1.0).mean())
        flat = float(picture.std(axis=(0, 1)).max()) < 1.0
        return Decoded(normals, 0.0 if flat else float(np.exp(-3.0 * error)), {"length_error": error})

    def spec(self) -> dict[str, Any]:
        """No arguments."""
        return {}
