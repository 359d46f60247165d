"""YOLO: a text file a picture, of boxes or polygons in shares of its size (docs.ultralytics.com/datasets).

``supervision`` reads it, too, but one bad line costs the data set, and numbers beyond 0-1 pass silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vdmfewshot.data.examples import DataError, LeftOut
from vdmfewshot.data.files import files_below, read_text
from vdmfewshot.data.formats.finding import Pictures
from vdmfewshot.data.formats.things import Export, Size, Thing
from vdmfewshot.data.layouts import PARTS
from vdmfewshot.data.pictures import read_size
from vdmfewshot.storage.limited_yaml import read_yaml

#: files that name the classes, one a line
NAMES = ("classes.txt", "obj.names", "predefined_classes.txt")
#: why a line is left out
NO_NUMBERS = "not a class (a whole number) and numbers with decimal points"


def is_yolo(root: Path) -> bool:
    """Whether a folder has a data.yaml with names, or label files of numbers beside or below it."""
    return bool(settings_of(root)) or any(_is_label(file) for file in files_below(root, ".txt")[:50])


def read_yolo(root: Path) -> Export:
    """Pictures and things of a YOLO export.

    Raises:
        DataError: if data.yaml cannot be read.
    """
    settings = settings_of(root)
    names, (joints, _) = class_names(root, settings), joint_count(settings)
    export = Export(names=list(names))
    for file, label, part in labelled_pictures(root, export.left_out):
        try:
            things = list(_things(label, names, joints, read_size(file), export))
        except ValueError as error:
            export.problems.append(str(error))
            continue
        export.add(file, file.relative_to(root).with_suffix("").as_posix(), things, None, part)
    return export


def labelled_pictures(root: Path, left_out: list[LeftOut]) -> Iterator[tuple[Path, Path, str]]:
    """Every picture with its label file and its part of the split; those without one are left out."""
    labels = {file.with_suffix("").relative_to(root).as_posix(): file for file in files_below(root, ".txt")}
    owners: dict[Path, Path] = {}
    for file in Pictures(root).files:
        name = file.relative_to(root).with_suffix("").as_posix()
        label = labels.get(_label_name(name))
        if label is None or (label.parent == file.parent and label.stat().st_size and not _is_label(label)):
            left_out.append(LeftOut(name, "a picture without a label file"))
        elif owners.setdefault(label, file) != file:
            left_out.append(LeftOut(file.name, "two pictures have the name of one label file; keep one"))
        else:
            yield file, label, _part(name)


def _label_name(name: str) -> str:
    """``train/images/a`` → ``train/labels/a``: the last folder called images."""
    parts = name.split("/")
    at = next((i for i in range(len(parts) - 2, -1, -1) if parts[i] == "images"), None)
    return "/".join([*parts[:at], "labels", *parts[at + 1 :]]) if at is not None else name


def _part(name: str) -> str:
    folders = name.split("/")[:-1]
    return next((part for part, usual in PARTS.items() if any(folder in usual for folder in folders)), "")


def _things(label: Path, names: list[str], joints: int, size: Size, export: Export) -> Iterator[Thing]:
    for place, words in read_lines(label, export.left_out):
        try:
            yield _thing(words, place, names, joints, size)
        except ValueError as error:
            export.left_out.append(LeftOut(place, str(error)))


def read_lines(label: Path, left_out: list[LeftOut]) -> Iterator[tuple[str, list[str]]]:
    """The words of each line that is not empty, and what names it; a file that is no text is left out."""
    try:
        lines = read_text(label).splitlines()
    except (OSError, ValueError) as error:
        left_out.append(LeftOut(label.name, str(error).removeprefix(f"{label}: ")))
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{label.name}: line {number}", line.split()


def _thing(words: list[str], place: str, names: list[str], joints: int, size: Size) -> Thing:
    try:
        index, values = class_of(words[0]), [float(word) for word in words[1:]]
    except ValueError as error:
        raise ValueError(NO_NUMBERS) from error
    values = values[:4] if joints and len(values) in (4 + 2 * joints, 4 + 3 * joints) else values
    if not index >= 0 or (names and index >= len(names)):
        raise ValueError(f"class {index} is not among the {len(names)} classes")
    if any(not -0.1 <= value <= 1.1 for value in values):
        raise ValueError("numbers must be shares of the picture's size, 0 to 1")
    label = names[index] if names else str(index)
    height, width = size
    if len(values) in (4, 5):  # the fifth is a confidence
        x, y, w, h = values[0] * width, values[1] * height, values[2] * width, values[3] * height
        return Thing(label, place, box=(x - w / 2, y - h / 2, w, h))
    if len(values) < 6 or len(values) % 2:
        raise ValueError("a line must have a class and 4 numbers (a box), or 6 and more in pairs (a polygon)")
    return Thing(label, place, outline=[[v * (height if i % 2 else width) for i, v in enumerate(values)]])


def class_of(word: str) -> int:
    """Number of a class; exporters write 3 and 3.0.

    Raises:
        ValueError: if it is no whole number.
    """
    if not float(word).is_integer():
        raise ValueError("no whole number")
    return int(float(word))


def settings_of(root: Path) -> Mapping[str, Any]:
    """Content of data.yaml; empty if there is none."""
    for file in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        try:
            content = read_yaml(file)
        except (OSError, ValueError) as error:
            raise DataError([str(error)]) from error
        if isinstance(content, Mapping) and isinstance(content.get("names"), list | dict):
            return content
    return {}


def class_names(root: Path, settings: Mapping[str, Any]) -> list[str]:
    """Names of the classes, of data.yaml or of a file of names; empty if there are none."""
    names = settings.get("names", [])
    if isinstance(names, Mapping):
        size = max((int(key) for key in names), default=-1) + 1
        return [str(names.get(i, names.get(str(i), i))) for i in range(size)]
    if names:
        return [str(name) for name in names]
    found = next((file for name in NAMES for file in files_below(root, name) if file.name == name), None)
    lines = read_text(found).splitlines() if found else []
    return [line.strip() for line in lines if line.strip()]


def joint_count(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Joints of a person and numbers of each, 2 or 3, as ``kpt_shape`` says; 0 joints if it does not."""
    shape = settings.get("kpt_shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(n, int) for n in shape):
        return 0, 0
    return (shape[0], shape[1]) if shape[1] in (2, 3) else (0, 0)


def joint_labels(settings: Mapping[str, Any], count: int) -> list[str]:
    """Names of the joints (``kpt_names``, of the first class), or their numbers."""
    names = settings.get("kpt_names")
    names = next(iter(names.values()), None) if isinstance(names, Mapping) else names
    return [str(n) for n in names] if isinstance(names, list) and len(names) == count else list(map(str, range(count)))


def _is_label(file: Path) -> bool:
    """Whether the first line is a whole number and at least four numbers."""
    try:
        words = read_text(file)[:2000].strip().splitlines()[:1]
        numbers = [float(word) for word in words[0].split()] if words else []
    except (OSError, ValueError):
        return False
    return len(numbers) >= 5 and numbers[0].is_integer()
