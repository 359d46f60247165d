"""From results to numbers: means over support sets with 95 % bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vdmfewshot.callbacks.references import CEILING
from vdmfewshot.data.evidence import Task
from vdmfewshot.metrics.intervals import bootstrap, student
from vdmfewshot.metrics.sums import divide
from vdmfewshot.studies.evidence.settings import METHODS, Settings

Result = Mapping[str, Any]
#: what is measured without training: copy-input and mean-target of a support set, and the encoding ceiling of a task
BASELINE = "baselines"
REFERENCES = (BASELINE, CEILING)


@dataclass(frozen=True)
class Entry:
    """One number of the table.

    Attributes:
        row: row of tasks.
        title: of the row.
        score: name of the score.
        method: a method, ``ceiling``, ``copy_input`` or ``mean_target``.
        shots: n; 0 for the ceiling, which has none.
        mean: over the units of the band.
        low: end of the 95 % band; NaN for a single unit.
        high: end of the 95 % band; NaN for a single unit.
        units: number of support sets, or of tasks for ARC.
    """

    row: str
    title: str
    score: str
    method: str
    shots: int
    mean: float
    low: float
    high: float
    units: int


@dataclass(frozen=True)
class Summary:
    """What table and figure show.

    Attributes:
        entries: all numbers.
        settings: that they were measured with.
        done: number of results.
        expected: number of results of the plan.
        bands: how they were made.
    """

    entries: tuple[Entry, ...]
    settings: Settings
    done: int
    expected: int
    bands: str = "Student's t over them; for ARC Bayesian bootstrap over tasks"

    def find(self, row: str, score: str, method: str, shots: int) -> Entry | None:
        """One entry, if it has been measured."""
        wanted = (row, score, method, shots)
        return next((e for e in self.entries if (e.row, e.score, e.method, e.shots) == wanted), None)

    @property
    def panels(self) -> list[tuple[str, str, str]]:
        """(row, title, score) of every row, in order."""
        return list(dict.fromkeys((e.row, e.title, e.score) for e in self.entries))

    @property
    def main(self) -> list[tuple[str, str, str]]:
        """(row, title, score) of every row's main score, in order."""
        first: dict[str, tuple[str, str, str]] = {}
        for panel in self.panels:
            first.setdefault(panel[0], panel)
        return list(first.values())

    def shots(self, row: str, score: str) -> list[int]:
        """The n at which something has been trained."""
        found = {e.shots for e in self.entries if (e.row, e.score) == (row, score) and e.method in METHODS}
        return sorted(found)


def summarize(tasks: Sequence[Task], settings: Settings, results: Sequence[Result], expected: int) -> Summary:
    """Gather results by row, method and n.

    Args:
        tasks: in the order of the table.
        settings: of the results.
        results: of units that are done, see ``results_of``.
        expected: number of results when all units are done.
    """
    by_row: dict[str, list[Result]] = {}
    rows = {task.name: task for task in tasks}
    for result in results:
        by_row.setdefault(rows[result["task"]].row, []).append(result)
    entries: list[Entry] = []
    for task in {task.row: task for task in tasks}.values():
        for score in task.scores:
            entries += row_entries(task, score, by_row.get(task.row, []))
    return Summary(tuple(entries), settings, len(results), expected)


def row_entries(task: Task, score: str, results: Sequence[Result]) -> list[Entry]:
    """Entries of one row and score."""
    values: dict[tuple[str, int], dict[str, list[float]]] = {}
    for result in results:
        shots = 0 if result["method"] == CEILING else result["shots"]
        # ARC's band is over tasks, with the mean over seeds for each; all others' is over support sets.
        unit = result["task"] if task.name != task.row else str(result["seed"])
        for method, scores in _scores(result).items():
            values.setdefault((method, shots), {}).setdefault(unit, []).append(scores[score])
    return [
        Entry(
            task.row,
            task.title,
            score,
            method,
            shots,
            *band(list(map(float, map(np.mean, units.values()))), over_tasks=task.name != task.row),
            len(units),
        )
        for (method, shots), units in sorted(values.items())
    ]


def _scores(result: Result) -> dict[str, Mapping[str, float]]:
    """Scores by method; one of references holds several."""
    return result["scores"] if result["method"] in REFERENCES else {result["method"]: result["scores"]}


def band(values: Sequence[float], over_tasks: bool = False) -> tuple[float, float, float]:
    """Mean and 95 % interval over the values; the ends are NaN for fewer than two.

    Args:
        values: means over the queries of support sets, for which Student's t fits; or scores of tasks.
        over_tasks: of tasks, in [0, 1] and most of them 0, for which it does not.
    """
    rows = np.column_stack([values, np.ones(len(values))])
    if over_tasks:
        interval = bootstrap(rows, lambda sums: {"mean": divide(sums[..., 0], sums[..., 1])})["mean"]
    else:
        interval = student(rows, lambda sums: divide(sums[..., 0], sums[..., 1]))
    return float(np.mean(values)), interval.low, interval.high
