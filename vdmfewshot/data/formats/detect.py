"""Which format a folder is in, and reading it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from vdmfewshot.data.coco import read_json
from vdmfewshot.data.examples import DataError
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
        "coco": lambda folder: read_coco(folder, coco_files(folder)),
    }
    export = readers[kind](root)
    if not export.pictures and not export.problems:
        reasons = f"; left out {summarize(export.left_out)}" if export.left_out else ""
        raise DataError([f"{root}: no labelled pictures in the format {kind!r}{reasons}"])
    return export


def _json_files(root: Path) -> list[Path]:
    found = (f for f in root.rglob("*.json") if not any(p.startswith(".") for p in f.relative_to(root).parts))
    return sorted(file for file in found if file.stat().st_size <= LARGEST)


def _contents(root: Path) -> list[Any]:
    contents = []
    for file in _json_files(root)[:LOOKED_AT]:
        try:
            contents.append(read_json(file))
        except DataError:
            continue
    return contents


def coco_files(root: Path) -> list[Path]:
    """COCO files of a folder; those that cannot be read are kept, so that they are named."""
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
    return [*choose_files(files), *(broken if not files else [])]
