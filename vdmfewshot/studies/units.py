"""Units of a study and the manifest that lists them: fixed before anything runs, and the denominator of all scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vdmfewshot.storage.atomic import replacing
from vdmfewshot.storage.documents import parse_json

#: of results; raise it when a unit of the same configuration would come out differently
SCHEMA = 1
MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Unit:
    """One point of the grid on one task.

    Attributes:
        id: by content: configuration, task, weights and schema, see ``hashed``.
        task: its name in tables.
        point: value of every axis.
        config: name of the resolved configuration in ``configs/``.
        data: what the task changes in the options of its data module.
        group: units of one group can train side by side.
        main: name of the main score.
        cost: relative; longest first.
        expected: a failed record of every query: what the unit counts as without a result.
        problem: why the task cannot be read; empty if it can.
    """

    id: str
    task: str
    point: Mapping[str, Any]
    config: str
    data: Mapping[str, Any]
    group: str
    main: str
    cost: float = 1.0
    expected: Sequence[Mapping[str, Any]] = ()
    problem: str = ""

    @property
    def family(self) -> str:
        """The part of the task's name before ``/``; empty if there is none."""
        return self.task.rpartition("/")[0]

    @property
    def label(self) -> str:
        """For messages: task and point."""
        return f"{self.task} {describe(self.point)}".rstrip()


def describe(point: Mapping[str, Any]) -> str:
    """``shots=3 seed=1``: a point in tables."""
    return " ".join(f"{axis.rpartition('.')[2]}={value}" for axis, value in point.items())


def hashed(*values: Any) -> str:
    """16 hex digits of the SHA-256 of anything that JSON, or else ``str``, can say."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Manifest:
    """All units of a study.

    Attributes:
        units: in order.
        settings: ``Study.digest`` of what they were planned from.
        inputs: signature of every file and folder that they depend on, see ``signature``.
    """

    units: list[Unit]
    settings: str
    inputs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a unit that is listed twice.

        Raises:
            ValueError: naming it.
        """
        seen: dict[str, Unit] = {}
        for unit in self.units:
            if unit.id in seen:
                raise ValueError(
                    f"{unit.label} is listed twice; tasks need different names, and points different values"
                )
            seen[unit.id] = unit

    @cached_property
    def by_id(self) -> dict[str, Unit]:
        """Units by id."""
        return {unit.id: unit for unit in self.units}

    def write(self, folder: Path) -> None:
        """Publish it in one step; starting again with the same settings writes the same bytes."""
        head = {"schema": SCHEMA, "settings": self.settings, "inputs": dict(self.inputs)}
        with replacing(folder / MANIFEST) as draft, draft.open("w", encoding="utf-8") as stream:
            for row in (head, *map(asdict, self.units)):
                stream.write(json.dumps(row, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """What ``write`` wrote; ``None`` if there is none, or of another schema.

        Raises:
            ValueError: if the file is damaged.
        """
        file = folder / MANIFEST
        if not file.is_file():
            return None
        try:
            with file.open(encoding="utf-8") as stream:
                head = parse_json(next(stream))
                if head["schema"] != SCHEMA:
                    return None
                return cls([Unit(**parse_json(line)) for line in stream], head["settings"], head["inputs"])
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise ValueError(f"{file} is damaged ({error}); delete it, finished units stay") from error

    def is_of(self, settings: str) -> bool:
        """Whether planning again would give the same units: same settings, and nothing touched since."""
        return self.settings == settings and all(signature(Path(p)) == s for p, s in self.inputs.items())


def signature(path: Path) -> str:
    """Names, sizes and times of a file or of all files below a folder: notices changes without reading content."""
    if not path.exists():
        return "missing"
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file.relative_to(path)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def signatures(paths: Iterable[Path]) -> dict[str, str]:
    """``signature`` by path."""
    return {str(path): signature(path) for path in dict.fromkeys(path.resolve() for path in paths)}
