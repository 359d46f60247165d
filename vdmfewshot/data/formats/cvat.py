"""CVAT for images 1.1: one XML file of boxes, polygons, masks and ellipses by picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from vdmfewshot.data.examples import DataError, LeftOut
from vdmfewshot.data.files import files_below
from vdmfewshot.data.formats.finding import Pictures
from vdmfewshot.data.formats.things import Export, Reading, Size, Thing, ellipse, run_length, turned_about
from vdmfewshot.data.formats.xml import as_number, beginning, read_xml
from vdmfewshot.data.pictures import read_size

#: subsets of CVAT projects
SUBSETS = {"train": "train", "validation": "val", "val": "val", "valid": "val", "test": "test"}


def is_cvat(root: Path) -> bool:
    """Whether a folder has an XML file of CVAT."""
    return any("<annotations" in beginning(file) for file in files_below(root, ".xml")[:20])


def read_cvat(root: Path) -> Export:
    """Pictures and things of a CVAT export.

    Raises:
        DataError: if it is one of a video.
    """
    pictures, export = Pictures(root), Export()
    for file, element in annotation_files(root):
        for item, picture, size, part in annotated_images(file, element, pictures, export):
            things = list(_things(item, size or read_size(picture), export))
            export.add(picture, picture.relative_to(root).with_suffix("").as_posix(), things, size, part)
    return export


def annotation_files(root: Path) -> Iterator[tuple[Path, Element]]:
    """XML files of CVAT with their content.

    Raises:
        DataError: if one is of a video.
    """
    for file in files_below(root, ".xml"):
        element = read_xml(file)
        if element.tag != "annotations":
            continue
        if element.find("track") is not None:
            raise DataError([f"{file}: holds tracks of a video; export it as 'CVAT for images'"])
        yield file, element


def annotated_images(
    file: Path, element: Element, pictures: Pictures, found: Reading
) -> Iterator[tuple[Element, Path, Size | None, str]]:
    """A file's pictures: element, path, (height, width), if stated, and part; ``found`` is told of missing ones."""
    for item in element.iterfind("image"):
        try:
            part = SUBSETS.get(item.get("subset", "").lower(), "")
            picture, size = pictures.find(item.get("name", ""), part=part), size_of(item)
        except ValueError as error:
            found.problems.append(f"{file}: image {item.get('name')!r}: {error}")
        else:
            yield item, picture, size, part


def size_of(item: Element) -> Size | None:
    """(height, width) of a picture, if it is stated."""
    if item.get("width") is None or item.get("height") is None:
        return None
    return int(as_number(item.get("height"), "height")), int(as_number(item.get("width"), "width"))


def _things(item: Element, size: Size, export: Export) -> Iterator[Thing]:
    for index, shape in enumerate(item):
        if shape.tag in ("tag", "points", "skeleton"):
            continue
        place = f"{item.get('name')}: {shape.tag} {index}"
        try:
            yield _thing(shape, place, size)
        except ValueError as error:
            export.left_out.append(LeftOut(place, str(error)))


def _thing(shape: Element, place: str, size: Size) -> Thing:
    label, turn = shape.get("label"), as_number(shape.get("rotation", "0"), "rotation")
    if not label:
        raise ValueError("it has no label")
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("its points are not pairs of numbers")
        return Thing(label, place, outline=[[as_number(v, "a coordinate") for pair in pairs for v in pair]])
    if shape.tag == "box":
        left, top, right, bottom = (as_number(shape.get(side), side) for side in ("xtl", "ytl", "xbr", "ybr"))
        return _turned_box(label, place, (left, top, right - left, bottom - top), turn)
    if shape.tag == "ellipse":
        x, y, rx, ry = (as_number(shape.get(name), name) for name in ("cx", "cy", "rx", "ry"))
        return Thing(label, place, outline=[ellipse(x, y, rx, ry, turn)])
    if shape.tag == "mask":
        return Thing(label, place, outline=run_length(_raster(shape, size)))
    raise ValueError(f"a shape of the kind {shape.tag} has no area")


def _turned_box(label: str, place: str, box: tuple[float, float, float, float], turn: float) -> Thing:
    """A box; one that is turned about its middle is a polygon."""
    if turn == 0:
        return Thing(label, place, box=box)
    x, y, width, height = box
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    return Thing(label, place, outline=[turned_about(corners, (x + width / 2, y + height / 2), turn)])


def _raster(shape: Element, size: Size) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """A mask as run lengths, row by row within its box, background first."""
    left, top, width, height = (int(as_number(shape.get(k), k)) for k in ("left", "top", "width", "height"))
    runs = [int(as_number(run, "a run")) for run in shape.get("rle", "").split(",")]
    if min(left, top, width, height, *runs) < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError("its mask lies outside the picture")
    if sum(runs) != width * height:
        raise ValueError("its run-length code does not add up to its box")
    mask = np.zeros(size, dtype=bool)
    values = np.arange(len(runs)) % 2 == 1
    mask[top : top + height, left : left + width] = np.repeat(values, runs).reshape(height, width)
    return mask
