"""Drawn truths after the model's autoencoder, kept by content between runs: it never changes, and it takes long."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vdmfewshot.clips.clip import to_frame, to_image
from vdmfewshot.storage.atomic import replacing
from vdmfewshot.storage.tensors import cache_home

#: of the entries; another number makes old ones misses
FORMAT = 1


class CeilingCache:
    """Pictures by autoencoder, number of frames and content of what went into it.

    What comes out is rounded to 8 bits, whether it is kept or not, so that a second run has the scores of the first.
    Entries are PNG files. One that cannot be read or written is no error: the picture is then made again.

    Args:
        encoder: name of the autoencoder by content, with its dtype; nothing is kept without it.
        num_frames: of the still clip.
        folder: of the entries; ``ceilings`` in the cache folder if not given.
    """

    def __init__(self, encoder: str | None, num_frames: int, folder: Path | None = None) -> None:
        self.encoder = encoder
        self.num_frames = num_frames
        self.folder = folder or cache_home() / "ceilings"

    def get(self, frames: Tensor, rebuild: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, 3, H, W) in [-1, 1] after the autoencoder; ``rebuild`` is asked for the missing ones, all at once."""
        files = [self._file(frame) for frame in frames]
        found = [self._read(file, frame) for file, frame in zip(files, frames, strict=True)]
        missing = [i for i, frame in enumerate(found) if frame is None]
        if missing:
            for i, frame in zip(missing, rebuild(frames[missing]).cpu(), strict=True):
                found[i] = rounded(frame)
                self._write(files[i], found[i])
        return torch.stack([frame for frame in found if frame is not None])

    def _file(self, frame: Tensor) -> Path | None:
        if self.encoder is None:
            return None
        head = f"{FORMAT} {self.encoder} {self.num_frames} {tuple(frame.shape)}".encode()
        name = hashlib.sha256(head + frame.numpy().tobytes()).hexdigest()
        return self.folder / name[:2] / f"{name}.png"

    def _read(self, file: Path | None, frame: Tensor) -> Tensor | None:
        if file is None or not file.is_file():
            return None
        with suppress(OSError, SyntaxError, ValueError), Image.open(file, formats=["PNG"]) as image:
            pixels = np.array(image.convert("RGB"))
            return to_frame(pixels) if pixels.shape[:2] == frame.shape[1:] else None
        return None

    def _write(self, file: Path | None, frame: Tensor | None) -> None:
        if file is None or frame is None or not frame.isfinite().all():
            return
        with suppress(OSError), replacing(file) as draft:
            Image.fromarray(to_image(frame).round().astype(np.uint8)).save(draft, "png")


def rounded(frame: Tensor) -> Tensor:
    """A (3, H, W) frame in [-1, 1] with the values of 8 bits; one that is not finite stays as it is."""
    return to_frame(to_image(frame).round().astype(np.uint8)) if frame.isfinite().all() else frame
