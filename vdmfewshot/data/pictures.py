"""Pictures and label maps from files: every common variant read correctly, every broken file named with its reason."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Background = Literal["black", "white"]

#: readable file types, by lower-case suffix
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
#: Pillow is told the formats, so that a renamed file cannot start another parser
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
#: more pixels than any camera delivers: refused before decompression
MAX_PIXELS = 120_000_000
#: clutter that file managers leave behind
IGNORED = {"thumbs.db", "desktop.ini"}

_SIXTEEN_BIT = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
_ALPHA = {"RGBA", "LA", "PA", "La", "RGBa"}


def read_picture(path: Path | Image.Image, background: Background = "black") -> NDArray[np.uint8]:
    """Read a colour picture.

    EXIF orientation is applied. Transparency is composited on ``background``. Greyscale and palette pictures become
    RGB. 16-bit greyscale is scaled by 1/257 (0-65535 → 0-255): no per-picture contrast stretch, which would make
    pictures incomparable. 16-bit RGB keeps the upper 8 bits.

    Args:
        path: png, jpg, webp, bmp or tif file with one picture, or a picture that PIL has read.
        background: what shows through transparent pixels.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: naming the file and the reason if it cannot be read.
    """
    with _opened(path) as image:
        if image.mode == "F":
            raise ValueError("floating-point pixels: save it as 8- or 16-bit, so that black and white are defined")
        if image.mode in _SIXTEEN_BIT:
            grey = _scaled(np.asarray(image))
            return np.repeat(grey[:, :, None], 3, axis=2)
        if image.mode in _ALPHA or "transparency" in image.info:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)
        return np.array(image.convert("RGB"), dtype=np.uint8)


def read_labels(path: Path | Image.Image) -> NDArray[np.int64]:
    """Read a label map: palette indices, grey levels as they are, or RGB with three equal channels.

    Returns:
        (h, w) int64.

    Raises:
        ValueError: naming the file and the reason if it cannot be read, is JPEG (lossy: class values would change),
            has colours or transparency.
    """
    with _opened(path) as image:
        if image.format == "JPEG":
            raise ValueError("JPEG changes class values: save label maps as png")
        labels = np.array(image)
        if labels.ndim == 3:
            labels = _single_channel(labels)
        if not np.issubdtype(labels.dtype, np.integer) and labels.dtype != bool:
            raise ValueError(f"class values must be whole numbers, got {labels.dtype} pixels")
        return labels.astype(np.int64)


def read_mask(path: Path | Image.Image) -> NDArray[np.bool_]:
    """Read a binary mask drawn as black and white: {0, 1}, {0, 255}, or grey levels cut at 128.

    Returns:
        (h, w) bool, ``True`` where it is white.

    Raises:
        ValueError: naming the file and the reason if it cannot be read or holds class indices instead.
    """
    with _opened(path) as image:
        lossy = image.format == "JPEG"
        grey = np.array(image.convert("L") if lossy else image)
        if grey.ndim == 3:
            grey = _single_channel(grey)
        top = int(grey.max())
        if not lossy and 1 < top < 128:
            raise ValueError(
                f"values up to {top} are neither a 0/1 nor a black-and-white mask; for class indices use labels"
            )
        if not lossy and top == 255 and 1 in grey and not ((grey > 1) & (grey < 255)).any():
            raise ValueError("values 0, 1 and 255 are class indices with an ignore label, not a black-white mask")
        white: NDArray[np.bool_] = grey >= (1 if top <= 1 and not lossy else 128)
        return white


def list_pictures(folder: Path) -> tuple[list[Path], list[str]]:
    """Picture files of a folder in name order, and a problem for every file of another type.

    Hidden files and file-manager clutter are skipped; sub-folders are not searched.
    """
    files = [f for f in sorted(folder.iterdir()) if f.is_file() and not f.name.startswith(".")]
    files = [f for f in files if f.name.lower() not in IGNORED]
    unknown = [f for f in files if f.suffix.lower() not in SUFFIXES]
    problems = [f"{f}: unsupported file type {f.suffix!r}; use {', '.join(sorted(SUFFIXES))}" for f in unknown]
    return [f for f in files if f not in unknown], problems


@contextmanager
def _opened(path: Path | Image.Image) -> Iterator[Image.Image]:
    """The upright, fully loaded picture; whatever goes wrong inside becomes a ValueError that names the file."""
    if isinstance(path, Image.Image):
        with _opened_by_pil(path) as image:
            yield image
        return
    try:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty (0 bytes)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                yield _upright(image)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file (deleted or moved?)") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not a picture, or a damaged header; expected one of {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError, MemoryError) as error:
        raise ValueError(f"{path}: damaged picture ({error})") from error
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error


@contextmanager
def _opened_by_pil(image: Image.Image) -> Iterator[Image.Image]:
    try:
        yield _upright(image)
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError, MemoryError) as error:
        raise ValueError(f"damaged picture ({error})") from error


def _upright(image: Image.Image) -> Image.Image:
    _check_header(image)
    image.load()
    upright = ImageOps.exif_transpose(image)
    upright.format = image.format
    return upright


def _check_header(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are over the limit of {MAX_PIXELS}; make it smaller")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise ValueError(f"holds {frames} pictures (animation or stack); split it into single pictures")


def _scaled(pixels: NDArray[np.integer]) -> NDArray[np.uint8]:
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"values {pixels.min()} to {pixels.max()} do not fit 16 bits; save it as 8- or 16-bit")
    return np.round(pixels / 257).astype(np.uint8)


def _single_channel(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w) of a picture whose colour channels agree; an alpha channel must be opaque."""
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    if pixels.shape[2] in (2, 4) and (pixels[..., -1] != 255).any():
        raise ValueError("labels must not be transparent; save them as greyscale or palette png")
    if (colours != colours[..., :1]).any():
        raise ValueError("labels must be grey or palette values, this file has colours")
    channel: NDArray[np.uint8] = colours[..., 0]
    return channel
