"""Pictures from files: every common variant read correctly, every broken file named with its reason."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

Background = Literal["black", "white"]
#: a file, or a picture that PIL has read
Source = Path | Image.Image

#: readable file types, by lower-case suffix
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".mpo"}
#: Pillow is told the formats, so that a renamed file cannot start another parser
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
#: more pixels than any camera delivers: refused before decompression
MAX_PIXELS = 120_000_000
#: EXIF tag of the way a camera was held
ORIENTATION = 0x0112

_SIXTEEN_BIT = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
_ALPHA = {"RGBA", "LA", "PA", "La", "RGBa"}

# Colour profiles of some scanners and cameras are larger than Pillow's limit of 1 MB for a compressed chunk.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, 16 << 20)


def read_picture(path: Source, background: Background = "black") -> NDArray[np.uint8]:
    """Read a colour picture.

    EXIF orientation is applied. Transparency is composited on ``background``. Greyscale and palette pictures become
    RGB. 16-bit greyscale is scaled by 1/257 (0-65535 → 0-255): no per-picture contrast stretch, which would make
    pictures incomparable. 16-bit RGB keeps the upper 8 bits. Of a photo with previews (MPO) the photo is read.

    Args:
        path: png, jpg, webp, bmp, tif or gif file with one picture, or a picture that PIL has read.
        background: what shows through transparent pixels.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: naming the file and the reason if it cannot be read.
    """
    with opened(path) as image:
        if image.mode == "F":
            raise ValueError("floating-point pixels: save it as 8- or 16-bit, so that black and white are defined")
        if image.mode in _SIXTEEN_BIT:
            grey = _scaled(np.asarray(image))
            return np.repeat(grey[:, :, None], 3, axis=2)
        if image.mode in _ALPHA or "transparency" in image.info:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)
        return np.array(image.convert("RGB"), dtype=np.uint8)


def read_orientation(path: Source) -> int:
    """EXIF orientation 1-8 of a picture; 1 (as stored) if it has none."""
    with named(path), _header(path) as image:
        found = image.getexif().get(ORIENTATION, 1)
        return found if found in range(2, 9) else 1


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright picture, from its header."""
    with named(path), _header(path) as image:
        swapped = image.getexif().get(ORIENTATION, 1) in range(5, 9)
        return (image.width, image.height) if swapped else (image.height, image.width)


def may_have_colours(path: Source) -> bool:
    """Whether a picture stores colours pixel by pixel, by its header."""
    with named(path), _header(path) as image:
        return image.mode not in ("1", "L", "P", "LA", *_SIXTEEN_BIT)


def is_lossy(path: Source) -> bool:
    """Whether a picture file is of a kind that changes pixel values: JPEG, or WebP that is not lossless."""
    if isinstance(path, Image.Image):
        return path.format in ("JPEG", "MPO")
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return b"VP8L" not in head
    return head[:2] == b"\xff\xd8"


@contextmanager
def opened(path: Source) -> Iterator[Image.Image]:
    """The upright, fully loaded picture; whatever goes wrong inside becomes a ValueError that names the file."""
    with named(path), warnings.catch_warnings():
        if isinstance(path, Path) and path.stat().st_size == 0:
            raise ValueError("the file is empty (0 bytes)")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with _header(path) as image:
            _check_header(image)
            image.load()
            upright = ImageOps.exif_transpose(image)
            upright.format = image.format
            yield upright


@contextmanager
def _header(path: Source) -> Iterator[Image.Image]:
    """The picture before it is decoded. One that a program holds stays open."""
    if isinstance(path, Image.Image):
        yield path
        return
    with Image.open(path, formats=FORMATS) as image:
        yield image


@contextmanager
def named(path: Source) -> Iterator[None]:
    """Turn every error about a picture into a ValueError that begins with its file, if it has one."""
    place = f"{path}: " if isinstance(path, Path) else ""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{place}no such file (deleted or moved?)") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{place}not a picture, or a damaged header; expected one of {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError, MemoryError) as error:
        raise ValueError(f"{place}damaged picture ({error})") from error
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(place) else f"{place}{error}") from error


def _check_header(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are over the limit of {MAX_PIXELS}; make it smaller")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # the other pictures of an MPO file are previews and gain maps
        raise ValueError(f"holds {frames} pictures (animation or stack); split it into single pictures")


def _scaled(pixels: NDArray[np.integer]) -> NDArray[np.uint8]:
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"values {pixels.min()} to {pixels.max()} do not fit 16 bits; save it as 8- or 16-bit")
    return np.round(pixels / 257).astype(np.uint8)
