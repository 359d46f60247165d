"""Kaggle's form of ARC: all tasks in a file of challenges, the outputs of their tests in a file of solutions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: what the names of the two files hold
CHALLENGES, SOLUTIONS = "challenges", "solutions"


def challenge_files(folder: Path, split: str) -> list[Path]:
    """Files of challenges in a folder: those named after the split, if any are."""
    files = sorted(file for file in folder.glob("*.json") if CHALLENGES in file.name)
    return [file for file in files if split in file.name] or files


def with_solutions(path: Path, tasks: Mapping[str, Any], read: Callable[[Path], Any]) -> dict[str, Any]:
    """Tasks of a file with the outputs of their tests, where a file of solutions lies beside it.

    Args:
        path: file of the tasks.
        tasks: id → unchecked task.
        read: reads a JSON file.
    """
    beside = path.with_name(path.name.replace(CHALLENGES, SOLUTIONS))
    if CHALLENGES not in path.name or not beside.is_file():
        return dict(tasks)
    solutions = read(beside)
    known = solutions if isinstance(solutions, Mapping) else {}
    return {name: _solved(task, known.get(name)) for name, task in tasks.items()}


def _solved(task: Any, outputs: Any) -> Any:
    """The task with outputs of its tests; anything of another form is left to the parser."""
    tests = task.get("test") if isinstance(task, Mapping) else None
    if not isinstance(tests, Sequence) or not isinstance(outputs, Sequence) or len(tests) != len(outputs):
        return task
    if not all(isinstance(test, Mapping) for test in tests):
        return task
    return {**task, "test": [{**test, "output": output} for test, output in zip(tests, outputs, strict=True)]}
