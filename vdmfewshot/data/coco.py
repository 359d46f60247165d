"""COCO annotation files (cocodataset.org/#format-data): reading, checking, masks."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from vdmfewshot.data.examples import DataError


def load_coco(path: Path) -> COCO:
    """Read an annotation file.

    Raises:
        DataError: if it is not JSON (NaN and Infinity are not), or has no images, annotations or categories.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError([f"{path}: not readable as JSON ({error})"]) from error
    lists = ("images", "annotations", "categories")
    missing = [n for n in lists if not isinstance(content, dict) or not isinstance(content.get(n), list)]
    if missing:
        raise DataError(
            [f"{path}: not a COCO file, it needs the lists {', '.join(lists)}; missing: {', '.join(missing)}"]
        )
    coco = COCO()
    coco.dataset = content
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            coco.createIndex()
    except (KeyError, TypeError) as error:
        raise DataError([f"{path}: an image, annotation or category lacks {error}"]) from error
    return coco


def find_category(coco: COCO, name: str, path: Path) -> dict[str, Any]:
    """The category of that name.

    Raises:
        DataError: listing the categories there are.
    """
    categories: list[dict[str, Any]] = coco.dataset["categories"]
    found = [category for category in categories if category.get("name") == name]
    if not found:
        names = ", ".join(str(category.get("name")) for category in categories[:100])
        raise DataError([f"{path}: no category {name!r}; there are {names}"])
    return found[0]


def image_file(folder: Path, record: Mapping[str, Any]) -> Path:
    """Path of an image record's file.

    Raises:
        ValueError: if its name leads out of ``folder``.
    """
    file = folder / str(record.get("file_name", ""))
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"file_name must lie within {folder}, got {record.get('file_name')!r}")
    return file


def instances_mask(segmentations: Sequence[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Union of polygons and run-length codes as a (h, w) bool mask.

    Raises:
        ValueError: if one of them is neither, or of another size.
    """
    codes: list[Any] = []
    try:
        for segmentation in segmentations:
            packed = isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list)
            code = segmentation if packed else coco_mask.frPyObjects(segmentation, *size)
            codes += code if isinstance(code, list) else [code]
        wrong = [code["size"] for code in codes if tuple(code["size"]) != size]
        if wrong:
            raise ValueError(f"a segmentation is of size {wrong[0]}, its image {list(size)} (height, width)")
        return np.asarray(coco_mask.decode(coco_mask.merge(codes))).astype(bool)
    except ValueError:
        raise
    except Exception as error:  # pycocotools raises nothing more precise
        raise ValueError(f"a segmentation is neither a list of polygons nor a run-length code ({error})") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a legal number")
