"""Pascal VOC: an XML file a picture, of boxes and, in Roboflow's exports, polygons. Pixels are counted from 1.

``supervision`` reads it, too, but one bad box costs the data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from vdmfewshot.data.examples import DataError, LeftOut
from vdmfewshot.data.files import files_below, read_text
from vdmfewshot.data.formats.finding import Pictures
from vdmfewshot.data.formats.things import Export, Size, Thing
from vdmfewshot.data.formats.xml import as_number, beginning, number_of, read_xml, text_of
from vdmfewshot.data.layouts import PARTS


def is_voc(root: Path) -> bool:
    """Whether a folder has XML files that begin with an annotation."""
    return any("<annotation>" in beginning(file) for file in files_below(root, ".xml")[:5])


def read_voc(root: Path) -> Export:
    """Pictures and things of a VOC export."""
    pictures, export, sets = Pictures(root), Export(), _image_sets(root)
    for file in files_below(root, ".xml"):
        try:
            element = read_xml(file)
            picture = _picture(file, element, pictures)
            things = list(_things(element, file, export))
        except DataError:
            export.left_out.append(LeftOut(file.name, "not readable as XML; export it again"))
            continue
        except ValueError as error:
            export.problems.append(f"{file}: {error}")
            continue
        if not export.accepts(file, picture, pictures):
            continue
        folders = set(file.relative_to(root).parts[:-1])
        part = next((part for part, usual in PARTS.items() if folders & {*usual}), sets.get(file.stem, ""))
        name = picture.relative_to(root).with_suffix("").as_posix()
        export.add(picture, name, things, _size(element), part)
    return export


def _image_sets(root: Path) -> dict[str, str]:
    """Part of each picture by ``ImageSets/{Main,Segmentation}/{train,val,test}.txt``."""
    found: dict[str, str] = {}
    for kind in ("Main", "Segmentation"):
        for part in ("train", "val", "test"):
            file = root / "ImageSets" / kind / f"{part}.txt"
            lines = read_text(file).splitlines() if file.is_file() else []
            found |= {line.split()[0]: part for line in lines if line.strip()}
    return found


def _picture(file: Path, element: Element, pictures: Pictures) -> Path:
    name = text_of(element, "filename")
    try:
        return pictures.find(name, file.parent)
    except ValueError as error:
        try:
            return pictures.find(file.stem)
        except ValueError:
            raise error from None


def _size(element: Element) -> Size | None:
    """(height, width); ``None`` where a tool writes zeros or nothing."""
    try:
        size = (int(number_of(element.find("size"), "height")), int(number_of(element.find("size"), "width")))
    except ValueError:
        return None
    return size if min(size) > 0 else None


def _things(element: Element, file: Path, export: Export) -> Iterator[Thing]:
    for index, item in enumerate(element.iterfind("object")):
        place = f"{file.name}: object {index}"
        try:
            yield _thing(item, place)
        except ValueError as error:
            export.left_out.append(LeftOut(place, str(error)))


def _thing(item: Element, place: str) -> Thing:
    label, box, polygon = text_of(item, "name"), item.find("bndbox"), item.find("polygon")
    if not label:
        raise ValueError("it has no name")
    if polygon is not None and len(polygon):
        return Thing(label, place, outline=[_corners(polygon)])
    if box is None:
        raise ValueError("it has neither a box nor a polygon")
    # Numbers of pixels begin at 1; with decimals they are places between pixels, as CVAT and datumaro write them.
    first = 0 if "." in text_of(box, "xmin") else 1
    left, top = number_of(box, "xmin") - first, number_of(box, "ymin") - first
    return Thing(label, place, box=(left, top, number_of(box, "xmax") - left, number_of(box, "ymax") - top))


def _corners(polygon: Element) -> list[float]:
    """``<x1/><y1/><x2/>…`` or ``<pt><x/><y/></pt>…``, which begins at 0."""
    points = list(polygon.iterfind("pt"))
    if points:
        return [number_of(point, axis) for point in points for axis in "xy"]
    values = {child.tag: as_number(child.text, f"polygon {child.tag}") for child in polygon}
    count = len(values) // 2
    return [values.get(f"{axis}{i}", float("nan")) - 1 for i in range(1, count + 1) for axis in "xy"]
