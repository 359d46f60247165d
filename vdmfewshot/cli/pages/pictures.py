"""Pictures inside a page: small WebP files as data URIs, within a limit of bytes."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageSequence

from vdmfewshot.codecs.palette import ARC_PALETTE

#: of a page, in bytes: what is left of 20 MB beside the plotting library
LIMIT = 13_000_000
#: pixels of a cell of a grid, and the widest picture
CELL, WIDTH = 9, 820


class Album:
    """Embeds pictures until the limit is reached; later ones are left out and counted.

    Args:
        limit: bytes of all pictures together.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.left = limit
        self.omitted = 0

    def picture(self, file: Path | None) -> str | None:
        """A data URI of a picture."""
        if file is None:
            return None
        with Image.open(file) as image:
            rgb = image.convert("RGB")
        if rgb.width > WIDTH:
            rgb = rgb.resize((WIDTH, round(rgb.height * WIDTH / rgb.width)), Image.Resampling.LANCZOS)
        return self._embed([rgb], quality=82)

    def clip(self, file: Path | None) -> str | None:
        """A data URI of an animated picture."""
        if file is None:
            return None
        with Image.open(file) as image:
            duration = image.info.get("duration", 125)
            frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
        return self._embed(frames, quality=60, duration=duration)

    def grid(self, grid: ArrayLike) -> str | None:
        """A data URI of an ARC grid in the standard colours."""
        colors = np.array(ARC_PALETTE, dtype=np.uint8)[np.asarray(grid, dtype=np.int64) % len(ARC_PALETTE)]
        cells = colors.repeat(CELL, axis=0).repeat(CELL, axis=1)
        cells[::CELL], cells[:, ::CELL] = 85, 85
        return self._embed([Image.fromarray(cells)], lossless=True)

    def _embed(self, frames: list[Image.Image], **options: int) -> str | None:
        buffer = io.BytesIO()
        frames[0].save(buffer, "webp", save_all=len(frames) > 1, append_images=frames[1:], loop=0, **options)
        if buffer.tell() > self.left:
            self.omitted += 1
            return None
        self.left -= buffer.tell()
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
