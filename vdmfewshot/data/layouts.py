"""Folder layouts that people have: which folders hold inputs, which targets, and which split they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vdmfewshot.data.examples import DataError
from vdmfewshot.data.files import files_below
from vdmfewshot.data.names import QUERIES, NamePattern, list_pictures, name_of, propose_single
from vdmfewshot.data.pictures import SUFFIXES

#: names of folders by part of the split, in order of preference
PARTS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
#: VOC's folder of masks, which holds those of some of its pictures
VOC_MASKS = "SegmentationClass"
INPUTS = ("input", "inputs", "images", "image", "imgs", "img", "img_dir", "JPEGImages", "leftImg8bit", "image_2")
TARGETS = (
    "target",
    "targets",
    "masks",
    "mask",
    "labels",
    "label",
    "gt",
    "annotations",
    "ann_dir",
    VOC_MASKS,
    "gtFine",
    "semantic",
)


@dataclass(frozen=True)
class Layout:
    """Where the files of a data set are.

    Attributes:
        labelled: part (``train``, ``val``, ``test``, or empty without split) → folders of inputs and of targets.
        unlabelled: prefix of keys → folder of inputs without target.
    """

    labelled: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)
    unlabelled: Mapping[str, Path] = field(default_factory=dict)


def find_layout(root: Path, names: tuple[str, str], pattern: NamePattern) -> Layout:
    """Recognise the layout of a folder.

    Args:
        root: the folder.
        names: usual names of the folders of inputs and of targets; other usual ones are tried after them.
        pattern: tells inputs from targets where both lie in one folder.

    Raises:
        DataError: if it has none, or two.
    """
    queries = {"": root / QUERIES} if (root / QUERIES).is_dir() else {}
    inputs, targets = (_folder(root, (name, *others)) for name, others in zip(names, (INPUTS, TARGETS), strict=True))
    nested = {part: _nested(inputs, targets, part) for part in PARTS}
    outer = {part: _folder(root, folders) for part, folders in PARTS.items()}
    if inputs and any(outer.values()):
        raise DataError([f"{root}: has both {inputs.name}/ and one of {', '.join(PARTS)}; keep one layout"])
    if any(outer.values()):
        return Layout({part: _pair(folder, names, pattern) for part, folder in outer.items() if folder}, queries)
    if inputs and targets and any(nested.values()):
        return Layout({part: pair for part, pair in nested.items() if pair}, queries)
    if inputs and targets:
        return Layout({"": (inputs, targets)}, queries)
    if inputs:
        return Layout({}, {**queries, "input-" if queries else "": inputs})
    if pattern != NamePattern() and _has_pictures(root):
        return Layout({"": (root, root)}, queries)
    if queries:
        return Layout({}, queries)
    raise DataError([_nothing(root, names)])


def _folder(root: Path, names: Sequence[str]) -> Path | None:
    """The first of these folders that is there and, unless it is the usual one, holds pictures."""
    for index, name in enumerate(names):
        folder = root / name
        if folder.is_dir() and (index == 0 or name in PARTS or _has_pictures(folder)):
            return folder
    return None


def _nested(inputs: Path | None, targets: Path | None, part: str) -> tuple[Path, Path] | None:
    """``images/train`` and ``masks/train``."""
    if inputs is None or targets is None:
        return None
    found = [_folder(folder, PARTS[part]) for folder in (inputs, targets)]
    return (found[0], found[1]) if found[0] and found[1] else None


def _pair(folder: Path, names: tuple[str, str], pattern: NamePattern) -> tuple[Path, Path]:
    inputs, targets = (_folder(folder, (name, *others)) for name, others in zip(names, (INPUTS, TARGETS), strict=True))
    beside = folder.with_name(f"{folder.name}annot")  # CamVid
    if inputs is None and targets is None and beside.is_dir():
        return folder, beside
    if inputs is None and targets is None and pattern != NamePattern():
        return folder, folder
    return inputs or folder / names[0], targets or folder / names[1]


def _has_pictures(folder: Path) -> bool:
    return any(file.suffix.lower() in SUFFIXES for file in files_below(folder))


def _nothing(root: Path, names: tuple[str, str]) -> str:
    shown = f"{{{names[0]},{names[1]}}}"
    expected = f"{root}: no data; expected {root}/{shown} or {root}/train/{shown}, or {root}/{QUERIES}"
    if not root.is_dir():
        return f"{root}: is a file; give the folder that holds {shown}"
    loose = [name_of(file, root) for file in list_pictures(root)[0] if file.parent == root]
    remedy = propose_single(loose)
    if remedy:
        return f"{expected}; {remedy}"
    below = sorted({f.parent.parent for f in files_below(root) if f.parent.name in (*INPUTS, QUERIES)})
    return expected + (f"; there is {below[0]}" if below and below[0] != root else "")
