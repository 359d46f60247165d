"""Masks and label maps from files: which pixel values mean what, decided over all files of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.codecs.labelmap import IGNORE
from vdmfewshot.data.pictures import Source, is_lossy, may_have_colours, named, opened

#: which values of a mask are the object; ``auto`` refuses what could be read in two ways
Foreground = Literal["auto", "white", "nonzero"]
#: more colours than any class table has: a photo or a soft drawing
MAX_COLOURS = 64
#: share of in-between values that lie in flat areas, above which they are numbers rather than soft edges
FLAT = 0.5
#: added to the colour of a mask's object, so that it is no grey level
COLOURED = 1 << 24
#: stands among the values of all masks where two ways of drawing them are mixed
MIXED = -1


@dataclass(frozen=True)
class Raw:
    """A target file before its values are interpreted.

    Attributes:
        values: (h, w) integers: grey levels or palette indices; of colour pictures, the colours as 0xRRGGBB.
        kind: ``grey``, ``colour``, ``palette`` (indices), or ``bits`` (drawn with one bit a pixel).
        lossy: whether the file format changes values.
        palette: colours as 0xRRGGBB by index, of palette pictures.
    """

    values: NDArray[np.int64]
    kind: Literal["grey", "colour", "palette", "bits"]
    lossy: bool = False
    palette: tuple[int, ...] = ()

    def colours(self) -> NDArray[np.int64]:
        """(h, w) 0xRRGGBB: what a viewer shows."""
        if self.kind == "colour":
            return self.values
        if self.kind == "palette":
            return np.array([*self.palette, *[0] * 256], dtype=np.int64)[np.clip(self.values, 0, 255)]
        return self.values * 0x010101


def read_raw(path: Source) -> Raw:
    """Read a mask or label map as it was stored.

    Raises:
        ValueError: naming the file if it cannot be read, is transparent or holds numbers that are not whole.
    """
    with named(path):
        lossy = is_lossy(path)
        with opened(path) as image:
            mode, palette = image.mode, image.getpalette() or []
            pixels = np.array(image.convert("RGB") if mode in ("CMYK", "YCbCr") else image)
        if pixels.dtype == bool:
            return Raw(pixels.astype(np.int64), "bits")
        if not np.issubdtype(pixels.dtype, np.integer):
            raise ValueError(f"class values must be whole numbers, got {pixels.dtype} pixels")
        if mode == "P":
            triples = zip(*(palette[i::3] for i in range(3)), strict=False)
            return Raw(pixels.astype(np.int64), "palette", lossy, tuple(pack(rgb) for rgb in triples))
        if pixels.ndim == 2:
            return Raw(pixels.astype(np.int64), "grey", lossy)
        return _from_channels(pixels.astype(np.int64), lossy)


def _from_channels(pixels: NDArray[np.int64], lossy: bool) -> Raw:
    """Grey levels of a picture whose colour channels agree, else colours; an alpha channel must be opaque."""
    channels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    if pixels.shape[2] in (2, 4) and (pixels[..., -1] != 255).any():
        raise ValueError("labels must not be transparent; save them as greyscale or palette png")
    if lossy and channels.shape[2] == 3 and np.ptp(channels, axis=2).max() < 48:  # the noise of a grey JPEG
        return Raw(channels.mean(axis=2).round().astype(np.int64), "grey", lossy)
    if (channels != channels[..., :1]).any():
        return Raw(channels @ np.array([1 << 16, 1 << 8, 1]), "colour", lossy)
    return Raw(channels[..., 0], "grey", lossy)


def pack(rgb: Sequence[int]) -> int:
    """(r, g, b) → 0xRRGGBB."""
    return (int(rgb[0]) << 16) | (int(rgb[1]) << 8) | int(rgb[2])


def unpack(colour: int) -> list[int]:
    """0xRRGGBB → [r, g, b]."""
    return [colour >> 16, colour >> 8 & 255, colour & 255]


def read_labels(path: Source) -> NDArray[np.int64]:
    """Read a label map: palette indices, grey levels as they are, or RGB with three equal channels.

    Returns:
        (h, w) int64.

    Raises:
        ValueError: naming the file and the reason if it cannot be read, is lossy (class values would change), has
            colours or transparency.
    """
    raw = read_raw(path)
    with named(path):
        if raw.lossy:
            raise ValueError("JPEG and lossy WebP change class values: save label maps as png")
        if raw.kind == "colour":
            raise ValueError(f"labels must be grey or palette values, this file has colours; {colour_remedy([raw])}")
    return raw.values


def read_mask(
    path: Source, levels: frozenset[int] = frozenset(), foreground: Foreground = "auto"
) -> NDArray[np.bool_] | NDArray[np.uint8]:
    """Read a binary mask: {0, 1}, {0, 255}, black and one colour, or grey levels cut in the middle.

    Palette pictures are read by their colours where one of these is black, else by their indices.

    Args:
        path: the file, or a picture that PIL has read.
        levels: values of all masks of the data set (``mask_levels``), so that each is read like the others; those of
            the file itself if not given.
        foreground: which values are the object.

    Returns:
        (h, w) bool, ``True`` on the object; (h, w) uint8 of 0, 1 and 255 if 255 stands for pixels to ignore.

    Raises:
        ValueError: naming the file and the reason if it cannot be read or could be read in two ways.
    """
    raw = read_raw(path)
    with named(path):
        grey = _mask_values(raw)
        if raw.kind == "bits":
            return grey > 0
        return _by_levels(grey, raw.lossy, levels or _values(grey), foreground)


def mask_levels(sources: Iterable[Source]) -> frozenset[int]:
    """Values of all masks of a data set; unreadable files are left to the reader that names them.

    ``MIXED`` is among them where some masks hold 0 and 1, others 0 and 255, and none all three.
    """
    found: set[int] = set()
    together = False
    for path in sources:
        try:
            raw = read_raw(path)
            if raw.kind != "bits" and not raw.lossy:
                values = _values(_mask_values(raw))
                found |= values
                together |= values >= {1, IGNORE}
        except ValueError:
            continue
    return frozenset(found | ({MIXED} if found == {0, 1, IGNORE} and not together else set()))


def are_coloured(sources: Iterable[Source]) -> bool:
    """Whether any of these files is a colour picture; unreadable ones are left to the reader that names them."""
    for path in sources:
        try:
            if may_have_colours(path) and read_raw(path).kind == "colour":
                return True
        except ValueError:
            continue
    return False


def _values(grey: NDArray[np.int64]) -> frozenset[int]:
    return frozenset(np.unique(grey).tolist())


def _mask_values(raw: Raw) -> NDArray[np.int64]:
    """Grey levels; palettes with the object at index 0 turned round; colours as ``COLOURED`` + 0xRRGGBB, black as 0."""
    if raw.kind in ("grey", "bits"):
        return raw.values
    if raw.lossy:
        raise ValueError("JPEG and lossy WebP change colours: save coloured masks as png")
    if raw.kind == "palette":
        return _palette_values(raw)
    colours = np.unique(raw.values)
    if len(colours) > 2 or (len(colours) == 2 and 0 not in colours):
        raise ValueError(f"a mask has black and one other colour, this file has not; {colour_remedy([raw])}")
    return np.where(raw.values == 0, 0, COLOURED + raw.values)


def _palette_values(raw: Raw) -> NDArray[np.int64]:
    """Palette indices, unless one or two colours are used and say otherwise: then 0 for the dark one and 1."""
    used = np.unique(raw.values)
    colours = [raw.palette[i] if i < len(raw.palette) else 0 for i in used.tolist()]
    dark = [max(unpack(colour)) <= 16 for colour in colours]
    if len(used) > 2 or len(set(colours)) < len(used) or all(dark):
        return raw.values
    if len(used) == 1:
        return np.full_like(raw.values, 1) if min(unpack(colours[0])) >= 240 else raw.values
    if not any(dark):
        raise ValueError(f"neither colour of this mask is black; {colour_remedy([raw])}")
    return raw.values if dark[0] and used[0] == 0 else (raw.values != used[dark.index(True)]).astype(np.int64)


def _by_levels(
    grey: NDArray[np.int64], lossy: bool, levels: frozenset[int], foreground: Foreground
) -> NDArray[np.bool_] | NDArray[np.uint8]:
    top = int(grey.max())
    if foreground == "nonzero" and not lossy:
        return grey > 0
    if lossy:
        if 0 < top < 128:
            raise ValueError(f"JPEG and lossy WebP change the values of a 0/1 mask (up to {top}): save it as png")
        return grey >= 128
    if foreground == "white":
        return grey >= (1 if top == 1 else 32768 if top > 255 else 128)
    if MIXED in levels:
        raise ValueError(
            "some masks hold 0 and 1, others 0 and 255: if both are the object, --data.foreground nonzero; if 255 "
            "marks pixels to ignore, --data.target labels --data.num_classes 2"
        )
    if levels == {0, 1, IGNORE}:
        return np.where(grey == IGNORE, IGNORE, grey).astype(np.uint8)
    others = levels - {0}
    if len(others) <= 1 and (0 in levels or others <= {1, 255, 65535}):
        return grey > 0
    if max(levels) >= COLOURED:
        raise ValueError(f"the masks have several colours; {_remedy_of(levels)}")
    if max(levels) < 128 or _is_flat(grey, top):
        raise ValueError(
            f"values up to {top} are neither a 0/1 nor a black-and-white mask; for class indices use labels "
            "(--data.target labels), for numbered objects --data.foreground nonzero, for grey levels --data.foreground "
            "white (from the middle up)"
        )
    return grey >= (32768 if max(levels) > 255 else 128)


def _is_flat(grey: NDArray[np.int64], top: int) -> bool:
    """Whether values between black and ``top`` fill areas, as numbers of objects do, and not edges."""
    between = (grey > 0) & (grey < max(top, 255))
    inner = between[:-1, :-1]
    if not inner.any():
        return False
    corner = grey[:-1, :-1]
    same = (corner == grey[1:, :-1]) & (corner == grey[:-1, 1:])
    return bool(same[inner].mean() > FLAT)


def _remedy_of(levels: frozenset[int]) -> str:
    colours = [level - COLOURED if level >= COLOURED else level * 0x010101 for level in levels]
    return colour_remedy([Raw(np.array([colours], dtype=np.int64), "colour")])


def colour_remedy(raws: Sequence[Raw]) -> str:
    """What to type where masks are coloured: the option with the colours that were found."""
    colours = sorted({int(c) for raw in raws for c in np.unique(raw.colours())[: MAX_COLOURS + 1]})
    if len(colours) > 8:
        return f"it has {len(colours)}{'+' * (len(colours) > MAX_COLOURS)} colours; is it a photo, or drawn softly?"
    table = ", ".join(f"{'background' if c == 0 else f'class{i}'}: {unpack(c)}" for i, c in enumerate(colours))
    return f"name its colours: --data.classes '{{{table}}}'"
