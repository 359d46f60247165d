"""COCO within a folder: one JSON file, or one a part of the split, with pictures below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vdmfewshot.data.coco import Record, box_of, canonical, load_coco, record_size
from vdmfewshot.data.examples import DataError, LeftOut
from vdmfewshot.data.formats.finding import Pictures
from vdmfewshot.data.formats.things import Export, Thing
from vdmfewshot.data.layouts import PARTS

#: why panoptic labels are left out
PANOPTIC = "a panoptic label, which is drawn in a picture of its own: export as COCO instances"


def is_coco(content: Any) -> bool:
    """Whether a JSON file is one of COCO."""
    return isinstance(content, Mapping) and all(isinstance(content.get(k), list) for k in ("images", "annotations"))


def read_coco(root: Path, files: list[Path]) -> Export:
    """Pictures and things of these annotation files."""
    pictures, export = Pictures(root), Export()
    for file in files:
        try:
            coco = load_coco(file)
        except DataError as error:
            export.problems += error.problems
            continue
        names = {canonical(category.get("id")): str(category.get("name")) for category in coco.categories}
        export.names += [name for name in names.values() if name not in export.names]
        export.left_out += coco.left_out
        near, part = file.parent if file.parent != root else None, part_of(file, root)
        by_image: dict[int | str, list[Thing]] = {}
        for annotation in coco.annotations:
            label, place = names.get(canonical(annotation.get("category_id"))), coco.place(annotation)
            if "segments_info" in annotation:
                export.left_out.append(LeftOut(place, PANOPTIC))
            elif label is None:
                export.left_out.append(LeftOut(place, "its category is not in the file"))
            else:
                by_image.setdefault(annotation["image_id"], []).append(_thing(annotation, label, place))
        for identity, record in coco.images.items():
            try:
                picture, size = pictures.find(str(record.get("file_name")), near, part), record_size(record)
            except ValueError as error:
                export.problems.append(f"{file}: image {identity}: {error}")
                continue
            name = picture.relative_to(root).with_suffix("").as_posix()
            export.add(picture, name, by_image.get(identity, []), size, part)
    return export


def choose_files(files: Mapping[Path, Any], joints: bool) -> list[Path]:
    """Of several files about the same pictures (instances, stuff, captions) those of instances, or of joints.

    Files without labels are none of them, unless there are no others.
    """
    labelled = [file for file, content in files.items() if content["annotations"]] or list(files)
    return [file for file in labelled if ("keypoints" if joints else "instances") in file.name] or labelled


def part_of(file: Path, root: Path) -> str:
    """Part of the split that a file's folder or name says."""
    words = {*file.relative_to(root).parts[:-1], *file.stem.replace("-", "_").split("_")}
    return next((part for part, usual in PARTS.items() if any(word.startswith(usual) for word in words)), "")


def _thing(annotation: Record, label: str, place: str) -> Thing:
    """An annotation; without an outline it is a box, and what is neither is refused when it is checked."""
    segmentation = annotation.get("segmentation")
    if segmentation:
        return Thing(label, place, outline=segmentation)
    try:
        return Thing(label, place, box=box_of(annotation))
    except ValueError:
        return Thing(label, place)
