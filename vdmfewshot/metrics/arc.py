"""ARC scores: exact match of voted attempts, per input and per task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics.base import Interval
from vdmfewshot.metrics.intervals import bootstrap, wilson
from vdmfewshot.metrics.sums import SumMetric, divide

Grid = NDArray[np.int64]


class ArcMetric(SumMetric):
    """Exact match of grids, as the ARC prize counts it.

    K sampled attempts are voted on: the answers are the distinct grids in order of their number of votes, ties by the
    highest confidence, then by first appearance. An attempt of confidence 0 (nothing drawn) does not vote.

    - ``pass@k``: an input counts if one of its first k answers equals the truth: size and every cell.
    - ``oracle@k``: any of the K attempts equals the truth; an upper bound, never a headline.
    - ``size_accuracy``, ``cell_accuracy``: of the first answer; cells of a wrong size are all wrong. Means over inputs.
    - ``task_pass@k``: a task counts if all its test inputs do (the papers); ``task_fraction@k``: mean over tasks of the
      fraction of inputs passed (the official scorer). The task is ``pair.meta["task"]``, else the sample is its own.

    Args:
        max_attempts: answers allowed; 2 for ARC-AGI, 3 for ConceptARC.
        more: statistics that a subclass adds.

    Raises:
        ValueError: if ``max_attempts`` < 1.
    """

    higher_is_better = True
    #: per input [hash of the task's name, rank of the truth among the answers], flattened
    tasks: list[Tensor]

    def __init__(self, max_attempts: int = 2, more: int = 0) -> None:
        if max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, got {max_attempts}")
        super().__init__(size=max_attempts + 4 + more)
        self.max_attempts = max_attempts
        self.main = f"pass@{max_attempts}"
        self.proportions = frozenset({*(f"pass@{k}" for k in self._ks), "oracle@k", "size_accuracy"})
        self.add_state("tasks", default=[], dist_reduce_fx="cat")

    @property
    def _ks(self) -> range:
        return range(1, self.max_attempts + 1)

    def measure(self, attempts: Sequence[Decoded[Any]], pair: Pair) -> dict[str, Any]:
        """Rank of the truth among the voted answers (0: never), and what the first answer got right.

        Raises:
            ValueError: if ``pair.target`` is no grid.
        """
        truth = true_grid(pair)
        answers = vote(attempts)
        matches = [np.array_equal(answer, truth) for answer, _ in answers]
        same_size = bool(answers) and answers[0][0].shape == truth.shape
        return {
            "task": str(pair.meta.get("task", pair.key)),
            "rank": matches.index(True) + 1 if any(matches) else 0,
            "size_right": same_size,
            "cell_accuracy": float((answers[0][0] == truth).mean()) if same_size else 0.0,
            "answers": [answer.tolist() for answer, _ in answers[: self.max_attempts]],
            "votes": [votes for _, votes in answers],
            "right": [
                np.array_equal(label, truth) for label in map(as_grid, (a.label for a in attempts)) if label is not None
            ],
            "failure": None if answers else "no attempt drew a grid",
        }

    def statistics(self, record: Mapping[str, Any]) -> NDArray[np.float64]:
        """[pass@1 … pass@max, oracle, size right, cell accuracy, 1]."""
        rank = record["rank"]
        passes = [0 < rank <= k for k in self._ks]
        return np.array([*passes, rank > 0, record["size_right"], record["cell_accuracy"], 1.0], dtype=np.float64)

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Means over inputs."""
        names = [*(f"pass@{k}" for k in self._ks), "oracle@k", "size_accuracy", "cell_accuracy"]
        return {name: divide(sums[..., i], sums[..., -1]) for i, name in enumerate(names)}

    def update(self, record: Mapping[str, Any]) -> None:
        """Add one input's record to the sums and to the list of tasks."""
        super().update(record)
        row = [task_number(record["task"]), float(record["rank"])]
        self.tasks.append(torch.tensor(row, dtype=torch.float64, device=self.sums.device))

    def compute(self) -> dict[str, Tensor]:
        """Scores per input and per task."""
        rows = dim_zero_cat(self.tasks).cpu().numpy() if len(self.tasks) else np.zeros(0)
        tasks = self._task_scores(self._task_rows(rows.reshape(-1, 2)).sum(axis=0))
        return super().compute() | {name: torch.tensor(float(v), dtype=torch.float64) for name, v in tasks.items()}

    def intervals(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Interval]:
        """Wilson over inputs or tasks for proportions; Bayesian bootstrap over inputs or tasks otherwise."""
        rows = np.array([[task_number(record["task"]), record["rank"]] for record in records], dtype=np.float64)
        tasks = self._task_rows(rows.reshape(-1, 2))
        passed = {f"task_pass@{k}": wilson(int(tasks[:, k - 1].sum()), len(tasks)) for k in self._ks if len(tasks)}
        return super().intervals(records) | bootstrap(tasks, self._task_scores) | passed

    def _task_rows(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(inputs, 2) [task, rank] → (tasks, 2 max + 1) [passed @1 … @max, fraction @1 … @max, 1]."""
        tasks, index = np.unique(rows[:, 0], return_inverse=True)
        inputs = np.bincount(index, minlength=len(tasks))
        solved = [(rows[:, 1] > 0) & (rows[:, 1] <= k) for k in self._ks]
        counts = np.stack([np.bincount(index, weights=s, minlength=len(tasks)) for s in solved], axis=1)
        passed = (counts == inputs[:, None]).astype(np.float64)
        return np.concatenate([passed, counts / np.maximum(inputs, 1)[:, None], np.ones((len(tasks), 1))], axis=1)

    def _task_scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        names = [f"task_{kind}@{k}" for kind in ("pass", "fraction") for k in self._ks]
        return {name: divide(sums[..., i], sums[..., -1]) for i, name in enumerate(names)}


def vote(attempts: Sequence[Decoded[Any]]) -> list[tuple[Grid, int]]:
    """Distinct grids of the attempts with their votes, most votes first, ties by highest confidence.

    Attempts of confidence 0 or whose label is no grid of integers do not vote.
    """
    grids: dict[tuple[tuple[int, ...], bytes], tuple[Grid, int, float]] = {}
    for attempt in attempts:
        grid = as_grid(attempt.label)
        if grid is None or not attempt.confidence > 0:
            continue
        key = (grid.shape, grid.tobytes())
        _, votes, confidence = grids.get(key, (grid, 0, 0.0))
        grids[key] = (grid, votes + 1, max(confidence, attempt.confidence))
    ranked = sorted(grids.values(), key=lambda item: (-item[1], -item[2]))
    return [(grid, votes) for grid, votes, _ in ranked]


def true_grid(pair: Pair) -> Grid:
    """The target of a pair.

    Raises:
        ValueError: if it is no grid.
    """
    truth = as_grid(pair.target)
    if truth is None:
        raise ValueError(f"{pair.key}: target must be a rectangular grid of integers")
    return truth


def as_grid(label: Any) -> Grid | None:
    """A non-empty rectangular grid of integers as int64; ``None`` for anything else: floats, ragged lists."""
    try:
        grid = np.asarray(label)
    except (TypeError, ValueError):
        return None
    if grid.ndim != 2 or grid.size == 0 or grid.dtype.kind not in "iu":
        return None
    return np.ascontiguousarray(grid, dtype=np.int64)


def task_number(name: str) -> float:
    """A task's name as a 48-bit hash, which float64 holds exactly, so that ranks can exchange it in a tensor."""
    return float(int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big"))
