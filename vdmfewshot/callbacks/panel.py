"""Rows of pictures with headings, and clips as GIF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
Color = tuple[int, int, int]

#: side of a picture in a panel, space around it and height of a line of text, in pixels
TILE, GAP, LINE = 200, 8, 20
#: side of a colour in the legend, in pixels; letters of its name
SWATCH, LETTERS = 12, 26
PAPER, INK = (250, 250, 250), (30, 30, 30)
#: how long a GIF rests on the answer, in frames
REST = 8


@dataclass(frozen=True)
class Row:
    """Pictures of one sample.

    Attributes:
        title: above the pictures.
        pictures: (h, w, 3) uint8 of any sizes; ``None`` leaves a gap.
    """

    title: str
    pictures: Sequence[Picture | None]


def panel(headings: Sequence[str], rows: Sequence[Row], colors: Sequence[tuple[str, Color]] = ()) -> Picture:
    """Pictures side by side under headings, one row a sample.

    Args:
        headings: one per column.
        rows: of as many pictures each.
        colors: (what it means, colour) of pictures that are drawn in flat colours; a line or more below the rows.

    Returns:
        (H, W, 3) uint8.
    """
    pitch = TILE + GAP
    width, height = len(headings) * pitch + GAP, LINE + GAP + len(rows) * (pitch + LINE)
    across = max(1, width // pitch)
    sheet = Image.new("RGB", (width, height + LINE * -(-len(colors) // across)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for column, heading in enumerate(headings):
        pen.text((GAP + column * pitch, GAP // 2), heading, INK, font)
    for index, row in enumerate(rows):
        top = LINE + GAP + index * (pitch + LINE)
        pen.text((GAP, top), row.title, INK, font)
        for column, picture in enumerate(row.pictures):
            if picture is not None:
                sheet.paste(Image.fromarray(fit(picture, TILE)), (GAP + column * pitch, top + LINE))
    for index, (name, color) in enumerate(colors):
        left, top = GAP + index % across * pitch, height + index // across * LINE
        pen.rectangle((left, top, left + SWATCH, top + SWATCH), color, INK)
        pen.text((left + SWATCH + GAP, top - 1), name[:LETTERS], INK, font)
    return np.asarray(sheet)


def strip(pictures: Sequence[Picture | None]) -> Picture:
    """Pictures side by side without text, (TILE, W, 3) uint8; ``None`` leaves a gap."""
    sheet = Image.new("RGB", (len(pictures) * (TILE + GAP) - GAP, TILE), PAPER)
    for column, picture in enumerate(pictures):
        if picture is not None:
            sheet.paste(Image.fromarray(fit(picture, TILE)), (column * (TILE + GAP), 0))
    return np.asarray(sheet)


def fit(picture: Picture, side: int) -> Picture:
    """Scale a picture so that its longer side is ``side`` pixels: nearest to enlarge, so that pixels stay pixels."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized: Picture = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
    return resized


def save_gif(file: Path, frames: Sequence[Picture], fps: int) -> None:
    """Write frames as an endless GIF that rests on the last one."""
    images = [Image.fromarray(fit(frame, TILE)) for frame in [*frames, *[frames[-1]] * REST]]
    images[0].save(file, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0)
