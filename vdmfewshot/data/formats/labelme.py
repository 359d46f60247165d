"""labelme: a JSON file a picture. Its own package needs a window system, and stops at one bad file."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from vdmfewshot.data.coco import BROKEN, numbers, read_json, record_size
from vdmfewshot.data.examples import DataError, LeftOut
from vdmfewshot.data.files import files_below
from vdmfewshot.data.formats.finding import Pictures
from vdmfewshot.data.formats.things import Export, Reading, Size, Thing, ellipse, run_length
from vdmfewshot.data.pictures import read_size


def is_labelme(content: Any) -> bool:
    """Whether a JSON file is one of labelme."""
    return isinstance(content, Mapping) and isinstance(content.get("shapes"), list) and "imagePath" in content


def read_labelme(root: Path) -> Export:
    """Pictures and things of a folder with labelme's files."""
    export = Export()
    for file, shapes, picture, size in annotated_files(root, export):
        things = list(_things(shapes, file, size or read_size(picture), export))
        export.add(picture, picture.relative_to(root).with_suffix("").as_posix(), things, size)
    return export


def annotated_files(root: Path, found: Reading) -> Iterator[tuple[Path, list[Any], Path, Size | None]]:
    """Files of labelme with their shapes, picture and (height, width), if stated; ``found`` is told of the others."""
    pictures = Pictures(root)
    for file in files_below(root, ".json"):
        try:
            content = read_json(file)
            if not is_labelme(content):
                continue
            picture = picture_beside(file, content, pictures)
            size = record_size({"height": content.get("imageHeight"), "width": content.get("imageWidth")})
        except DataError:
            found.left_out.append(LeftOut(file.name, BROKEN))
        except ValueError as error:
            found.problems.append(f"{file}: {error}")
        else:
            if found.accepts(file, picture, pictures):
                yield file, content["shapes"], picture, size


def picture_beside(file: Path, content: Mapping[str, Any], pictures: Pictures) -> Path:
    """The picture beside the file, else the one that the path names.

    Raises:
        ValueError: if there is none, with what to do where the file itself holds it.
    """
    name = str(content["imagePath"])
    beside = file.parent / name.replace("\\", "/").rpartition("/")[2]
    try:
        return beside if beside in pictures.files else pictures.find(name)
    except ValueError as error:
        inside = "; the file itself holds it (imageData, in base64): write it beside the file"
        raise ValueError(f"{error}{inside if content.get('imageData') else ''}") from error


def _things(shapes: list[Any], file: Path, size: Size, export: Export) -> Iterator[Thing]:
    for index, shape in enumerate(shapes):
        place = f"{file.name}: shape {index}"
        if isinstance(shape, Mapping) and shape.get("shape_type") in ("point", "points"):
            continue  # a joint, which has no area
        try:
            yield _thing(shape, place, size)
        except ValueError as error:
            export.left_out.append(LeftOut(place, str(error)))


def _thing(shape: Any, place: str, size: Size) -> Thing:
    if not isinstance(shape, Mapping) or not isinstance(shape.get("points"), list) or not shape.get("label"):
        raise ValueError("it has no label or no points")
    kind, label = shape.get("shape_type") or "polygon", str(shape["label"])
    try:
        points = np.array([numbers(point) for point in shape["points"]], dtype=np.float64).reshape(-1, 2)
    except ValueError as error:
        raise ValueError("its points are not pairs of finite numbers") from error
    if kind in ("polygon", "oriented_rectangle"):
        return Thing(label, place, outline=[points.ravel().tolist()])
    if len(points) == 2 and kind == "rectangle":
        low, high = points.min(axis=0), points.max(axis=0)
        return Thing(label, place, box=(low[0], low[1], high[0] - low[0], high[1] - low[1]))
    if len(points) == 2 and kind == "circle":
        radius = float(np.linalg.norm(points[1] - points[0]))
        return Thing(label, place, outline=[ellipse(points[0, 0], points[0, 1], radius, radius)])
    if len(points) == 2 and kind == "mask":
        return Thing(label, place, outline=run_length(_raster(str(shape.get("mask")), points, size)))
    raise ValueError(f"a shape of the kind {kind} has no area")


def _raster(
    text: str, points: np.ndarray[Any, np.dtype[np.float64]], size: Size
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A mask that is drawn within a box, as a base64 PNG, on the whole picture."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",)) as image:
            if image.width > size[1] or image.height > size[0]:
                raise ValueError("its mask is larger than the picture")
            part = np.array(image.convert("L")) > 0
    except (binascii.Error, OSError, UnidentifiedImageError) as error:
        raise ValueError("its mask is not a PNG picture") from error
    left, top = (round(v) for v in points.min(axis=0))
    mask = np.zeros(size, dtype=bool)
    if left < 0 or top < 0 or top + part.shape[0] > size[0] or left + part.shape[1] > size[1]:
        raise ValueError("its mask lies outside the picture")
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return mask
