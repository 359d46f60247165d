"""How long the evidence takes: predicted before it starts, corrected by every cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

from vdmfewshot.studies.evidence.cells import REFERENCES, Cell
from vdmfewshot.studies.evidence.results import Job
from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.progress import duration

Run = Callable[[Sequence[Cell], Settings], list[dict[str, Any]]]
#: steps and queries of the trial that predicts the time of a cell where none has been measured
TRIAL_STEPS, TRIAL_QUERIES = 3, 2
#: seconds of a cell that trains nothing, until one has been measured
REFERENCE_SECONDS = 2.0


class Clock:
    """Predicts times from the cells that have been measured.

    Args:
        results: earlier ones.

    Attributes:
        guess: seconds of a cell of a method that has not been measured.
    """

    def __init__(self, results: Sequence[dict[str, Any]]) -> None:
        self.guess = 0.0
        self._seconds: dict[str, list[float]] = {}
        for result in results:
            self.add(result["method"], result["seconds"])

    def add(self, method: str, seconds: float) -> None:
        """Take note of a cell."""
        self._seconds.setdefault(method, []).append(seconds)

    def knows(self, method: str) -> bool:
        """Whether a cell of this method has been measured."""
        return method in self._seconds

    def left(self, jobs: Sequence[Job]) -> str:
        """Predicted time of some jobs, see ``duration``."""
        return duration(sum(self._expected(job.cell.method) for job in jobs))

    def _expected(self, method: str) -> float:
        if method in self._seconds:
            return mean(self._seconds[method])
        return REFERENCE_SECONDS if method in REFERENCES else self.guess


def trial_seconds(cell: Cell, settings: Settings, run: Run) -> float:
    """Predicted seconds of a cell, from a few steps and queries of it."""
    (result,) = run([cell], replace(settings, steps=TRIAL_STEPS, queries=TRIAL_QUERIES))
    fit = result["fit_seconds"] / TRIAL_STEPS * settings.steps
    return float(fit + result["test_seconds"] / TRIAL_QUERIES * settings.queries)
