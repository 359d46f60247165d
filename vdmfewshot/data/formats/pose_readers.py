"""Joints of people in exports of labelling tools: one reader a format, all to the same pictures with skeletons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from vdmfewshot.data.coco import box_of, canonical, load_coco, numbers, record_size
from vdmfewshot.data.examples import DataError, LeftOut
from vdmfewshot.data.formats.coco import part_of
from vdmfewshot.data.formats.cvat import annotated_images, annotation_files
from vdmfewshot.data.formats.detect import Format, coco_files, find_format
from vdmfewshot.data.formats.finding import Pictures
from vdmfewshot.data.formats.labelme import annotated_files
from vdmfewshot.data.formats.labelstudio import TURNED, annotated_tasks, results_of
from vdmfewshot.data.formats.skeletons import PERSON, Groups, Posed, PoseExport, Skeleton
from vdmfewshot.data.formats.things import Size
from vdmfewshot.data.formats.xml import as_number
from vdmfewshot.data.formats.yolo import (
    NO_NUMBERS,
    class_names,
    class_of,
    joint_count,
    joint_labels,
    labelled_pictures,
    read_lines,
    settings_of,
)
from vdmfewshot.data.joints import joint_rows
from vdmfewshot.data.pictures import read_size
from vdmfewshot.data.survey import summarize


def read_skeletons(root: Path, kind: Format) -> PoseExport:
    """Pictures and people of a folder.

    Args:
        root: the folder.
        kind: its format; found out if ``auto``.

    Raises:
        DataError: if it is in no format with joints, or holds no person.
    """
    readers: dict[str, Callable[[Path], PoseExport]] = {
        "coco": read_coco_people,
        "yolo": read_yolo_people,
        "labelme": read_labelme_people,
        "cvat": read_cvat_people,
        "labelstudio": read_labelstudio_people,
    }
    found = find_format(root) if kind == "auto" else kind
    if found not in readers:
        raise DataError([f"{root}: joints are read from {', '.join(readers)}; this is {found or 'none of them'}"])
    export = readers[found](root)
    if not any(picture.people for picture in export.pictures) and not export.problems:
        reasons = f"; left out {summarize(export.left_out)}" if export.left_out else ""
        raise DataError([f"{root}: no person with joints in the format {found!r}{reasons}"])
    return export


def read_coco_people(root: Path) -> PoseExport:
    """COCO keypoint files."""
    pictures, export = Pictures(root), PoseExport()
    for file in coco_files(root, export.left_out, joints=True):
        coco = load_coco(file)
        export.left_out += coco.left_out
        skeletons = {canonical(c.get("id")): c for c in coco.categories if isinstance(c.get("keypoints"), list)}
        for known in skeletons.values():
            distinct(list(map(str, known["keypoints"])), f"keypoints of category {known.get('name')!r}")
        export.names += [n for c in skeletons.values() for n in map(str, c["keypoints"]) if n not in export.names]
        by_image: dict[int | str, list[Skeleton]] = {}
        for annotation in coco.annotations:
            category = skeletons.get(canonical(annotation.get("category_id")))
            if category is None or annotation.get("iscrowd"):
                continue
            try:
                names, box = list(map(str, category["keypoints"])), box_of(annotation)
                rows = joint_rows(annotation.get("keypoints"), len(names))
            except ValueError as error:
                export.left_out.append(LeftOut(coco.place(annotation), str(error)))
                continue
            joints = {n: (x, y, v) for n, (x, y, v) in zip(names, rows.tolist(), strict=True) if v > 0}
            person = Skeleton(str(category.get("name")), coco.place(annotation), joints, box)
            by_image.setdefault(annotation["image_id"], []).append(person)
        near = file.parent if file.parent != root else None
        for identity, record in coco.images.items():
            try:
                picture = pictures.find(str(record.get("file_name")), near, part_of(file, root))
                posed = Posed(picture, tuple(by_image.get(identity, ())), record_size(record), part_of(file, root))
            except ValueError as error:
                export.problems.append(f"{file}: image {identity}: {error}")
                continue
            export.pictures.append(posed)
    return export


def distinct(names: list[str], place: str) -> list[str]:
    """Names of joints that are told apart by them.

    Raises:
        DataError: if one comes twice.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError([f"{place}: {', '.join(twice)} stands for several joints; give each a name of its own"])
    return names


def read_yolo_people(root: Path) -> PoseExport:
    """YOLO pose: class, box and joints in shares of the picture, as ``kpt_shape`` of data.yaml says.

    Raises:
        DataError: without ``kpt_shape``.
    """
    settings = settings_of(root)
    count, values = joint_count(settings)
    if not count:
        raise DataError([f"{root}: data.yaml must have kpt_shape [joints, 2 or 3] for joints, got none"])
    names, classes = distinct(joint_labels(settings, count), "kpt_names of data.yaml"), class_names(root, settings)
    flips = settings.get("flip_idx")
    export = PoseExport(names=list(names))
    if isinstance(flips, list) and len(flips) == count:
        export.swaps = [[i, j] for i, j in enumerate(flips) if isinstance(j, int) and i < j < count and flips[j] == i]
    for file, label, part in labelled_pictures(root, export.left_out):
        size = read_size(file)
        people = []
        for place, words in read_lines(label, export.left_out):
            try:
                people.append(_yolo_person(words, place, classes, names, values, size))
            except ValueError as error:
                export.left_out.append(LeftOut(place, str(error)))
        export.pictures.append(Posed(file, tuple(people), None, part))
    return export


def _yolo_person(
    words: list[str], place: str, classes: list[str], names: list[str], values: int, size: Size
) -> Skeleton:
    try:
        index, shares = class_of(words[0]), [float(word) for word in words[1:]]
    except ValueError as error:
        raise ValueError(NO_NUMBERS) from error
    if len(shares) != 4 + values * len(names):
        raise ValueError(f"a line must have a class, a box and {values} numbers for each of {len(names)} joints")
    height, width = size
    x, y, w, h = shares[:4]
    rows = np.array(shares[4:]).reshape(-1, values)
    seen = rows[:, 2] if values == 3 else np.where((rows[:, :2] == 0).all(axis=1), 0, 2)
    flat = np.concatenate([shares[:4], rows[seen > 0, :2].ravel()])
    if not np.isin(seen, (0, 1, 2)).all() or not ((flat >= -0.1) & (flat <= 1.1)).all():
        raise ValueError("numbers must be shares of the picture's size, 0 to 1, and visibility 0, 1 or 2")
    if not index >= 0 or (classes and index >= len(classes)):
        raise ValueError(f"class {index} is not among the {len(classes)} classes")
    joints = {n: (r[0] * width, r[1] * height, float(v)) for n, r, v in zip(names, rows, seen, strict=True) if v > 0}
    box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
    return Skeleton(classes[index] if classes else str(index), place, joints, box)


def read_labelme_people(root: Path) -> PoseExport:
    """labelme: points named after joints; ``group_id`` says whose, a rectangle of that group is the person's box."""
    export = PoseExport()
    for file, shapes, picture, size in annotated_files(root, export):
        groups = Groups(export)
        for index, shape in enumerate(shapes):
            place = f"{file.name}: shape {index}"
            try:
                _labelme_shape(shape, place, groups)
            except (ValueError, TypeError, KeyError):
                export.left_out.append(LeftOut(place, "it lacks a label or points"))
        export.pictures.append(Posed(picture, tuple(groups.people()), size))
    return export


def _labelme_shape(shape: Mapping[str, Any], place: str, groups: Groups) -> None:
    points, kind = [numbers(point) for point in shape["points"]], shape.get("shape_type")
    if kind == "point":
        groups.add(shape.get("group_id"), str(shape["label"]), points[0][0], points[0][1], 2.0, place)
    elif kind == "rectangle" and len(points) == 2:
        (x, y), (right, bottom) = np.min(points, axis=0), np.max(points, axis=0)
        groups.boxes[shape.get("group_id")] = str(shape["label"]), (x, y, right - x, bottom - y)


def read_cvat_people(root: Path) -> PoseExport:
    """CVAT for images: skeletons; points named after joints with a group; or one shape of all points of a person."""
    pictures, export = Pictures(root), PoseExport()
    for file, element in annotation_files(root):
        parents = [(label.findtext("parent"), label.findtext("name")) for label in element.iter("label")]
        export.names += [str(name) for parent, name in parents if parent and name not in export.names]
        for item, picture, size, part in annotated_images(file, element, pictures, export):
            export.pictures.append(Posed(picture, tuple(_cvat_people(item, export)), size, part))
    return export


def _cvat_people(item: Element, export: PoseExport) -> Iterator[Skeleton]:
    groups, whole = Groups(export), dict[str, tuple[str | None, Skeleton]]()
    for index, shape in enumerate(item):
        place, label = f"{item.get('name')}: {shape.tag} {index}", shape.get("label") or PERSON
        try:
            if shape.tag == "box":
                left, top, right, bottom = (as_number(shape.get(side), side) for side in ("xtl", "ytl", "xbr", "ybr"))
                groups.boxes[shape.get("group_id")] = label, (left, top, right - left, bottom - top)
            elif shape.tag == "skeleton":
                joints = {str(p.get("label")): _cvat_point(p)[0] for p in shape.iterfind("points") if _labelled(p)}
                if joints:
                    yield Skeleton(label, place, joints)
            elif shape.tag == "points":
                found = _cvat_point(shape)
                if len(found) == 1 and _labelled(shape):
                    groups.add(shape.get("group_id"), label, *found[0], place)
                elif len(found) > 1:
                    person = Skeleton(label, place, {str(i): point for i, point in enumerate(found, 1)})
                    whole[place] = shape.get("group_id"), person
        except ValueError as error:
            export.left_out.append(LeftOut(place, str(error)))
    yield from (replace(person, box=groups.boxes.get(g, ("", None))[1]) for g, person in whole.values())
    yield from groups.people()


def _labelled(point: Element) -> bool:
    return point.get("outside", "0") == "0"


def _cvat_point(shape: Element) -> list[tuple[float, float, float]]:
    pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("its points are not pairs of numbers")
    visibility = 1.0 if shape.get("occluded", "0") == "1" else 2.0
    return [(as_number(x, "a coordinate"), as_number(y, "a coordinate"), visibility) for x, y in pairs]


def read_labelstudio_people(root: Path) -> PoseExport:
    """Label Studio: key points in percent; ``parentID`` says in whose rectangle."""
    export = PoseExport()
    for place, task, picture, size in annotated_tasks(root, export):
        groups = Groups(export)
        for number, result in enumerate(results_of(task)):
            try:
                _labelstudio_result(result, f"{place}, result {number}", size, groups)
            except (ValueError, TypeError, KeyError, AttributeError):
                export.left_out.append(LeftOut(f"{place}, result {number}", "it lacks what a key point has"))
        export.pictures.append(Posed(picture, tuple(groups.people()), None))
    return export


def _labelstudio_result(result: Mapping[str, Any], place: str, size: Size, groups: Groups) -> None:
    value, (height, width) = result.get("value", result), size
    kind = next((k for k in ("keypointlabels", "rectanglelabels") if value.get(k)), None)
    if kind is None:
        return
    if result.get("image_rotation"):
        groups.export.left_out.append(LeftOut(place, TURNED))
        return
    x, y = float(value["x"]) / 100 * width, float(value["y"]) / 100 * height
    if kind == "keypointlabels":
        groups.add(result.get("parentID"), str(value[kind][0]), x, y, 2.0, place)
    else:
        box = (x, y, float(value["width"]) / 100 * width, float(value["height"]) / 100 * height)
        groups.boxes[result.get("id")] = str(value[kind][0]), box
