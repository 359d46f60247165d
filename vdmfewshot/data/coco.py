"""COCO annotation files (cocodataset.org/#format-data): read and checked, one bad annotation at a time."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vdmfewshot.data.examples import DataError, LeftOut
from vdmfewshot.data.files import read_text
from vdmfewshot.storage.documents import parse_json

Record = dict[str, Any]
#: why a file among others is left out
BROKEN = "not readable as JSON; export it again"


@dataclass(frozen=True)
class CocoFile:
    """An annotation file of which every annotation has an image, and ids are unique.

    Attributes:
        path: the file.
        images: records by id.
        annotations: those that can be used, in file order.
        categories: records.
        left_out: annotations without an image.
    """

    path: Path
    images: Mapping[int | str, Record]
    annotations: Sequence[Record]
    categories: Sequence[Record]
    left_out: Sequence[LeftOut]

    def place(self, annotation: Record) -> str:
        """How a message names an annotation."""
        return f"{self.path.name}: annotation {annotation['id']}"

    def of(self, categories: Sequence[Record]) -> list[Record]:
        """Annotations of these categories."""
        ids = {canonical(category.get("id")) for category in categories}
        return [annotation for annotation in self.annotations if canonical(annotation.get("category_id")) in ids]


def read_json(path: Path) -> Any:
    """JSON in any encoding of Unicode; NaN and Infinity are left to ``numbers``, for they spoil one annotation alone.

    Raises:
        DataError: if it is none.
    """
    try:
        return parse_json(read_text(path), finite=False)
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DataError([f"{path}: not readable as JSON ({reason}); export it again"]) from error


def load_coco(path: Path) -> CocoFile:
    """Read an annotation file. Annotations without an image are left out; repeated annotation ids are renumbered.

    Raises:
        DataError: if it is not JSON, lacks images, annotations or categories, or if two images have one id.
    """
    content = read_json(path)
    lists = ("images", "annotations", "categories")
    missing = [n for n in lists if not isinstance(content, dict) or not isinstance(content.get(n), list)]
    if missing:
        raise DataError(
            [f"{path}: not a COCO file, it needs the lists {', '.join(lists)}; missing: {', '.join(missing)}"]
        )
    wrong = [f"{path}: {n}[{i}] is not a record" for n in lists for i, r in enumerate(content[n]) if not _is_record(r)]
    if wrong:
        raise DataError(wrong)
    images = _images(content["images"], path)
    left_out: list[LeftOut] = []
    annotations = list(_annotations(content["annotations"], images, path, left_out))
    return CocoFile(path, images, annotations, content["categories"], left_out)


def canonical(identity: Any) -> int | str | None:
    """One form for ids that exporters write as numbers and as text: 7, 7.0, "7" and "007" are 7."""
    if isinstance(identity, bool) or identity is None:
        return None
    if isinstance(identity, float) and identity.is_integer():
        return int(identity)
    if isinstance(identity, str) and identity.isascii() and identity.isdigit():
        return int(identity)
    return identity if isinstance(identity, int | str) else None


def _is_record(item: object) -> bool:
    return isinstance(item, dict)


def _images(records: Sequence[Record], path: Path) -> dict[int | str, Record]:
    images: dict[int | str, Record] = {}
    problems = []
    for index, record in enumerate(records):
        identity = canonical(record.get("id"))
        if identity is None:
            problems.append(f"{path}: images[{index}] has no id")
        elif identity in images and images[identity].get("file_name") != record.get("file_name"):
            problems.append(
                f"{path}: image id {identity} stands for {images[identity].get('file_name')} and for "
                f"{record.get('file_name')}: annotations cannot be told apart; export with unique image ids"
            )
        else:
            images[identity] = {**record, "id": identity}
    if problems:
        raise DataError(problems)
    return images


def _annotations(
    records: Sequence[Record], images: Mapping[int | str, Record], path: Path, left_out: list[LeftOut]
) -> Iterator[Record]:
    """Annotations with an image; numbered by their place where ids repeat or are missing."""
    ids = [canonical(record.get("id")) for record in records]
    repeat = None in ids or max(Counter(ids).values(), default=1) > 1
    for index, record in enumerate(records):
        identity = index if repeat else ids[index]
        image = canonical(record.get("image_id"))
        if image in images:
            yield {**record, "id": identity, "image_id": image}
        else:
            reason = "it lacks 'image_id'" if image is None else f"its image {image} is not in the file"
            left_out.append(LeftOut(f"{path.name}: annotation {identity}", reason))


def find_categories(coco: CocoFile, name: str) -> list[Record]:
    """Categories of that name: more than one where an exporter repeats it for a parent.

    Raises:
        DataError: listing the categories there are.
    """
    found = [category for category in coco.categories if category.get("name") == name]
    if not found:
        names = ", ".join(dict.fromkeys(str(category.get("name")) for category in coco.categories[:100]))
        raise DataError([f"{coco.path}: no category {name!r}; there are {names or 'none'}"])
    return found


def image_file(folder: Path, record: Mapping[str, Any]) -> Path:
    """Path of an image record's file, which exists.

    Raises:
        ValueError: if its name leads out of ``folder`` or to nothing, with the nearest file as the remedy.
    """
    name = str(record.get("file_name") or "")
    if not name:
        raise ValueError("has no file_name")
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"file_name must lie within {folder}, got {name!r}{_nearest(folder, name)}")
    if not file.is_file():
        raise ValueError(f"{file}: no such file (deleted or moved?){_nearest(folder, name)}")
    return file


def _nearest(folder: Path, name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    last = parts[-1]
    for start in range(len(parts)):
        for base in (folder, folder.parent):
            file = base.joinpath(*parts[start:])
            if file.is_file() and last:
                remedy = f"; give --data.images {base}" if not start and base != folder else "; correct the file_name"
                return f"; there is {file}{remedy}"
    names = [f.name for f in sorted(folder.iterdir())[:10_000]] if folder.is_dir() else []
    near = difflib.get_close_matches(last, names, n=1, cutoff=0.6)
    return f"; nearest: {folder / near[0]}" if near else ""


def record_size(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) of an image record; ``None`` if it does not say.

    Raises:
        ValueError: if they are no positive whole numbers.
    """
    height, width = record.get("height"), record.get("width")
    if height is None or width is None:
        return None
    try:
        size = (int(height), int(width))
    except (TypeError, ValueError, OverflowError):
        size = (0, 0)
    if min(size) < 1:
        raise ValueError(f"height and width must be whole numbers from 1, got {height!r} and {width!r}")
    return size


def box_of(annotation: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """x, y, width, height of an annotation.

    Raises:
        ValueError: if they are not four finite numbers.
    """
    try:
        x, y, width, height = numbers(annotation.get("bbox"))
    except ValueError as error:
        raise ValueError("its box is not four finite numbers (x, y, width, height)") from error
    return x, y, width, height


def numbers(values: Any) -> list[float]:
    """A list of finite numbers, checked before a library sees them.

    Raises:
        ValueError: if it is something else.
    """
    if not isinstance(values, list) or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise ValueError("is not a list of numbers")
    if any(not abs(v) < 1e300 for v in values):
        raise ValueError("holds a number that is not finite")
    return [float(v) for v in values]
