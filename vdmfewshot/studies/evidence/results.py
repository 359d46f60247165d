"""Results on disk: one JSON file a cell, named after everything that it depends on."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vdmfewshot.metrics.records import to_json, write_atomically
from vdmfewshot.storage.documents import read_object
from vdmfewshot.storage.errors import DamagedFileError
from vdmfewshot.studies.evidence.cells import Cell

REMEDY = "the cell is to be measured again"
FIELDS = {"key": str, "task": str, "method": str, "seed": int, "scores": dict}


@dataclass(frozen=True)
class Job:
    """A cell that is to be measured, and where its result lies.

    Attributes:
        cell: what is measured.
        key: name of the result by content, see ``cell_key``.
        file: of the result.
    """

    cell: Cell
    key: str
    file: Path

    @classmethod
    def of(cls, out: Path, cell: Cell, key: str) -> Job:
        """The job whose result lies in ``<out>/results/<task>/<method>-n<shots>-s<seed>-<key>.json``."""
        return cls(cell, key, out / "results" / cell.folder / f"{cell.name}-{key}.json")

    @property
    def failure(self) -> Path:
        """File that says why the last attempt failed."""
        return self.file.with_suffix(".failed.txt")

    @property
    def done(self) -> bool:
        """Whether there is a whole result; a damaged one is measured again."""
        try:
            return bool(self.load())
        except FileNotFoundError:
            return False
        except DamagedFileError as error:
            warnings.warn(str(error), stacklevel=2)
            return False

    def save(self, result: Mapping[str, Any]) -> None:
        """Publish the result; an older failure is forgotten."""
        write_atomically(self.file, to_json({"key": self.key, **asdict(self.cell), **result}) + "\n")
        self.failure.unlink(missing_ok=True)

    def load(self) -> dict[str, Any]:
        """The result.

        Raises:
            FileNotFoundError: if there is none.
            DamagedFileError: naming the file, if it is damaged or holds another result.
        """
        result = read_object(self.file, FIELDS, REMEDY)
        if result["key"] != self.key:
            raise DamagedFileError(f"{self.file} holds result {result['key']}, not {self.key}; {REMEDY}")
        return result


def finished(jobs: Iterable[Job]) -> list[dict[str, Any]]:
    """Results of the jobs that have one, in order."""
    return [job.load() for job in jobs if job.done]
