"""Which format a folder is in, and reading it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from vdmfewshot.data.coco import BROKEN, read_json
from vdmfewshot.data.examples import DataError, LeftOut
from vdmfewshot.data.files import files_below
from vdmfewshot.data.formats.coco import choose_files, is_coco, read_coco
from vdmfewshot.data.formats.cvat import is_cvat, read_cvat
from vdmfewshot.data.formats.hf import is_hf
from vdmfewshot.data.formats.labelme import is_labelme, read_labelme
from vdmfewshot.data.formats.labelstudio import is_labelstudio, read_labelstudio
from vdmfewshot.data.formats.things import Export
from vdmfewshot.data.formats.voc import is_voc, read_voc
from vdmfewshot.data.formats.yolo import is_yolo, read_yolo
from vdmfewshot.data.survey import summarize

Format = Literal["auto", "pairs", "coco", "voc", "yolo", "labelme", "cvat", "labelstudio", "hf"]

#: JSON files that are looked at, and the largest of them in bytes, to find out what they are
LOOKED_AT, LARGEST = 20, 512 << 20


def find_format(root: Path) -> Format | None:
    """The format of a folder that is no folder of pairs; ``None`` if it is none that we know."""
    if is_hf(root):
        return "hf"
    by_content: dict[Format, Callable[[Any], bool]] = {
        "coco": is_coco,
        "labelme": is_labelme,
        "labelstudio": is_labelstudio,
    }
    for content in _contents(root):
        for name, fits in by_content.items():
            if fits(content):
                return name
    by_folder: dict[Format, Callable[[Path], bool]] = {"cvat": is_cvat, "voc": is_voc, "yolo": is_yolo}
    return next((name for name, holds in by_folder.items() if holds(root)), None)


def unknown_labels(root: Path) -> list[LeftOut]:
    """Files that look like labels in a folder of no known format, and what is wrong with them."""
    left_out = []
    for file in [*_json_files(root), *files_below(root, ".xml")][:LOOKED_AT]:
        reason = "labels in no format that is known"
        if file.suffix.lower() == ".json":
            try:
                read_json(file)
            except DataError:
                reason = BROKEN
        left_out.append(LeftOut(str(file.relative_to(root)), reason))
    return left_out


def read_export(root: Path, kind: Format) -> Export:
    """Pictures and things of a folder in this format.

    Raises:
        DataError: if it holds none.
    """
    readers: dict[Format, Callable[[Path], Export]] = {
        "voc": read_voc,
        "yolo": read_yolo,
        "labelme": read_labelme,
        "cvat": read_cvat,
        "labelstudio": read_labelstudio,
        "coco": read_coco_folder,
    }
    export = readers[kind](root)
    if not export.pictures and not export.problems:
        reasons = f"; left out {summarize(export.left_out)}" if export.left_out else ""
        raise DataError([f"{root}: no labelled pictures in the format {kind!r}{reasons}"])
    return export


def _json_files(root: Path) -> list[Path]:
    return [file for file in files_below(root, ".json") if file.is_file() and file.stat().st_size <= LARGEST]


def _contents(root: Path) -> list[Any]:
    contents = []
    for file in _json_files(root)[:LOOKED_AT]:
        try:
            contents.append(read_json(file))
        except DataError:
            continue
    return contents


def read_coco_folder(root: Path) -> Export:
    """Pictures and things of all COCO files of a folder."""
    left_out: list[LeftOut] = []
    export = read_coco(root, coco_files(root, left_out))
    export.left_out += left_out
    return export


def coco_files(root: Path, left_out: list[LeftOut], joints: bool = False) -> list[Path]:
    """COCO files of a folder, of instances or of joints. Others that cannot be read are left out.

    Where there are none, those that cannot be read are meant.
    """
    files: dict[Path, Any] = {}
    broken = []
    for file in _json_files(root):
        try:
            content = read_json(file)
        except DataError:
            broken.append(file)
            continue
        if is_coco(content):
            files[file] = content
    left_out += [LeftOut(str(file.relative_to(root)), BROKEN) for file in broken if files]
    return choose_files(files, joints) if files else broken
