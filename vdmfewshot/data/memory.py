"""Pictures and pairs that a program already holds: arrays, PIL pictures, tensors, paths, rows of a table."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vdmfewshot.clips.clip import Pair
from vdmfewshot.data.pictures import FORMATS, Background, Source, read_orientation, read_picture
from vdmfewshot.data.readers import TargetReader

#: a picture, mask or label map in a form that programs have it in; see ``as_picture``
AnyPicture = Any
#: what arrays may hold, said in messages
RULE = "uint8, bool, whole numbers 0-255, uint16, or floating point in [0, 1]"


def as_picture(value: AnyPicture) -> Source:
    """Anything that is a picture → a path or a PIL picture, which are then read as files are.

    Args:
        value: a path; a PIL picture; an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) of uint8, bool, whole numbers
            0-255, uint16 or floating point in [0, 1]; a tensor of the same values, (h, w) or channels first; or what
            Hugging Face's datasets keep of an undecoded picture, a mapping with ``bytes`` or ``path``.

    Raises:
        ValueError: naming rule and value.
    """
    if isinstance(value, str | Path):
        return Path(value).expanduser()
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, Mapping) and {"bytes", "path"} >= set(value) and any(value.values()):
        content = value.get("bytes")
        return Path(value["path"]) if content is None else Image.open(io.BytesIO(content), formats=FORMATS)
    if isinstance(value, Tensor):
        return _from_array(_channels_last(value.detach().cpu().numpy()))
    if isinstance(value, np.ndarray):
        return _from_array(value)
    raise ValueError(f"a picture must be an array, a PIL picture, a tensor or a path, got {type(value).__name__}")


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 3 or array.shape[0] not in (1, 3, 4):
        if array.ndim == 2:
            return array
        raise ValueError(f"a tensor must be (h, w) or (channels, h, w) with 1, 3 or 4 channels, got {array.shape}")
    return array.transpose(1, 2, 0)


def _from_array(array: NDArray[Any]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.size == 0:
        raise ValueError(f"an array must be (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), got {array.shape}")
    if array.dtype == np.uint16 and array.ndim == 2:
        return Image.fromarray(array)
    return Image.fromarray(_eight_bits(array))


def _eight_bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Values as 0-255: floating point from [0, 1], booleans as black and white, whole numbers as they are."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = array.min(), array.max()
    if np.issubdtype(array.dtype, np.integer) and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating) and low >= 0 and high <= 1:
        return np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    raise ValueError(f"values must be {RULE}; got {array.dtype} from {low:.4g} to {high:.4g} (divide by 255?)")


def readable(values: Iterable[AnyPicture]) -> Iterator[Source]:
    """Those of the values that are pictures; the others are named when they are read."""
    for value in values:
        try:
            yield as_picture(value)
        except ValueError:
            continue


def as_rows(pairs: Iterable[Any]) -> list[tuple[AnyPicture, AnyPicture]]:
    """(input, target) of each item: a pair, or a row of a table with two columns, input first.

    Raises:
        ValueError: naming the first item that is neither.
    """
    if isinstance(pairs, str | Path) or not isinstance(pairs, Iterable):
        got = f"{type(pairs).__name__} {pairs!r}"
        raise ValueError(f"pairs must be a list of (input, target), got {got}; a folder is PairsDataModule(folder)")
    rows = []
    for number, item in enumerate(pairs):
        row = tuple(item.values()) if isinstance(item, Mapping) else item
        if isinstance(row, str | bytes | Path | np.ndarray | Tensor) or not isinstance(row, Sequence) or len(row) != 2:
            got = f"columns {', '.join(map(str, item))}" if isinstance(item, Mapping) else type(item).__name__
            raise ValueError(
                f"pairs must be (input, target) each, or rows with these two columns in this order, got {got} at "
                f"{number}; with more columns use zip(rows['image'], rows['mask'])"
            )
        rows.append((row[0], row[1]))
    return rows


def read_pair(
    key: str, image: AnyPicture, target: AnyPicture | None, reader: TargetReader, background: Background, task: str
) -> Pair:
    """A pair of an input and, if there is one, its target, by the same rules as files.

    Raises:
        ValueError: naming which of the two breaks which rule.
    """
    where = "input"
    try:
        picture = as_picture(image)
        pixels = read_picture(picture, background)
        where = "target"
        label = None if target is None else reader(as_picture(target), pixels, read_orientation(picture))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Pair(key, pixels, label, {"task": task, "source": str(picture) if isinstance(picture, Path) else key})
