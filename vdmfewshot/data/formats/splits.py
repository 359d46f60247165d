"""From an export to examples: which classes are wanted, and pictures with drawn masks or label maps."""

from __future__ import annotations

import difflib
import functools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vdmfewshot.clips.clip import Pair
from vdmfewshot.data.examples import DataError, Example, Splits, safe_key
from vdmfewshot.data.formats.things import Export, Labelled, draw_labels, draw_mask
from vdmfewshot.data.orientation import Exif, turned
from vdmfewshot.data.photos import read_sized
from vdmfewshot.data.survey import summarize


def read_labelled(
    key: str, picture: Labelled, names: Sequence[str], as_mask: bool, exif: Exif, meta: dict[str, Any]
) -> Pair:
    """Read a picture and draw its things of these classes, as a mask of all of them or as a label map."""
    # Without a stated size, things are shares of the picture as viewers show it.
    image, turn = read_sized(picture.file, picture.size, exif if picture.size else "upright")
    size = picture.size or (image.shape[0], image.shape[1])
    things = [thing for thing in picture.things if thing.label in names]
    label = draw_mask(things, size) if as_mask else draw_labels(things, size, names)
    return Pair(key, image, turned(label, turn), meta)


def choose_classes(
    export: Export, wanted: str | Sequence[str] | None, as_mask: bool, place: str, most: int = 7
) -> list[str]:
    """The classes to draw.

    Args:
        export: what was read.
        wanted: one or several names; all if not given.
        as_mask: whether they become one mask.
        place: names the data in an error.
        most: classes of one clip, without the background.

    Raises:
        DataError: if a name is unknown, or they are too many and it must be said which.
    """
    shown = {thing.label for picture in export.pictures for thing in picture.things}
    known = [*(name for name in export.names if name in shown), *sorted(shown - set(export.names))]
    names = known if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            hint += f"; left out {summarize(export.left_out)}" if export.left_out else ""
            raise DataError([f"{place}: no class {name!r}; there are {', '.join(known[:50]) or 'none'}{hint}"])
    if not names:
        reasons = f": left out {summarize(export.left_out)}" if export.left_out else ""
        raise DataError([f"{place}: nothing labelled can be used{reasons}"])
    if as_mask and wanted is None and len(names) > 1:
        raise DataError(
            [
                f"{place}: a mask is of one class, there are {', '.join(names[:50])}: --data.category '{names[0]}' (or "
                "several as '[a, b]'), or --data.target labels"
            ]
        )
    if not as_mask and len(names) > most:
        raise DataError(
            [
                f"{place}: {len(names)} classes, and one clip holds {most} and the background: take all of them in "
                f"several passes, --data ClassPassesDataModule, or choose with --data.category "
                f"'[{', '.join(names[:3])}]' from {', '.join(names[:50])}"
            ]
        )
    return names


def unique_keys(files: Sequence[Path], base: Path) -> list[str]:
    """Keys of pictures, from their paths below a folder; with the suffix where names differ in nothing else."""
    names = {file: file.relative_to(base).with_suffix("").as_posix() for file in files}
    count = Counter(names.values())
    full = [names[file] if count[names[file]] == 1 else file.relative_to(base).as_posix() for file in files]
    return [safe_key(name) for name in full]


def export_splits(export: Export, names: Sequence[str], as_mask: bool, exif: Exif, task: str) -> Splits:
    """Examples of the pictures that show one of these classes."""
    has = [any(thing.label in names for thing in picture.things) for picture in export.pictures]
    shown = [picture for picture, known in zip(export.pictures, has, strict=True) if known]
    unused = [picture.name for picture, known in zip(export.pictures, has, strict=True) if not known]
    base = Path(os.path.commonpath([picture.file.parent for picture in shown])) if shown else Path()
    by_part: dict[str, list[Example]] = {}
    keys = unique_keys([picture.file for picture in shown], base)
    for picture, key in zip(shown, keys, strict=True):
        meta = {"task": task, "source": picture.file.name}
        read = functools.partial(read_labelled, key, picture, tuple(names), as_mask, exif, meta)
        by_part.setdefault(picture.part, []).append(Example(key, str(picture.file), read))
    pool = [*by_part.get("", []), *by_part.get("train", [])]
    validate, test = by_part.get("val", []), by_part.get("test", [])
    return Splits(
        pool,
        validate,
        test,
        hold_out=not test,
        problems=export.problems,
        left_out=export.left_out,
        unused=unused,
    )
