"""What every codec promises: labels ↔ RGB frames, with a written-down, hashed specification."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.geometry import Letterbox

Label = TypeVar("Label")


@dataclass(frozen=True)
class Decoded(Generic[Label]):
    """A label read from a frame.

    Attributes:
        label: what the frame says, in source pixels; always valid, whatever the frame.
        confidence: 0 (nothing was drawn) to 1.
        details: plain numbers for the per-sample record (margins, residuals, thresholds).
    """

    label: Label
    confidence: float
    details: Mapping[str, float] = field(default_factory=dict)


class Codec(ABC, Generic[Label]):
    """A bijection between labels and target frames: ``decode(encode(x)).label == x``.

    A codec is a small immutable object. Its constructor arguments *are* its specification: ``spec`` lists them, and
    ``spec_hash`` is stored with every adapter, so that an adapter is never read with another codec than its own.
    """

    #: raise it whenever the meaning of the pixels changes, so that old adapters are refused instead of misread
    version: int = 1

    @abstractmethod
    def encode(self, label: Label, box: Letterbox) -> NDArray[np.uint8]:
        """Draw a label (in source pixels) as a frame.

        Returns:
            (H, W, 3) uint8 RGB of ``box.canvas`` size.

        Raises:
            ValueError: if the label breaks the codec's rules (naming rule and value).
        """

    @abstractmethod
    def decode(self, frame: NDArray[np.floating[Any]] | NDArray[np.uint8], box: Letterbox) -> Decoded[Label]:
        """Read a label from a frame. Never raises on bad pixels: the worst case is an empty label of confidence 0.

        Args:
            frame: (H, W, 3) RGB in [0, 255], uint8 or floating point; may hold anything, NaN included.
            box: the placement that ``encode`` was given.
        """

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""

    @property
    def spec_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of name, version and specification."""
        text = json.dumps([type(self).__name__, self.version, self.spec()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def sanitize(frame: NDArray[Any]) -> NDArray[np.float32]:
    """Any numeric (H, W, 3) frame → float32 in [0, 255]; NaN and -inf become 0, +inf 255."""
    clean = np.nan_to_num(np.asarray(frame, dtype=np.float32), nan=0.0, posinf=255.0, neginf=0.0)
    return np.clip(clean, 0.0, 255.0)
