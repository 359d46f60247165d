"""Routes on boards: whether the way that was drawn leads from start to end, and how long it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics.arc import as_grid, true_grid
from vdmfewshot.metrics.sums import SumMetric, divide

#: values of boards, see ``vdmfewshot.data.generated.mazes``
WALL, END, START, WAY = 0, 2, 3, 4
#: what is added up over boards
NAMES = ("right", "path", "optimal", "relative_length", "cell_accuracy")


class RouteMetric(SumMetric):
    """Of the first attempt's board, whose size and start, end and walls are those of the truth.

    - ``pass@1``: every cell is that of the truth. Where several ways are shortest, only one of them counts.
    - ``psr``: path success rate, the share of boards whose way is one line without branches over free cells from start
      to end (arXiv 2510.24448); ``optimal``: the share of those that are also as short as the truth's.
    - ``rpl``: relative path length, length over shortest length, mean over the boards that ``psr`` counts; 1 is best.
    - ``cell_accuracy``: share of right cells, 0 for a wrong size.
    """

    higher_is_better = True
    main = "pass@1"
    proportions = frozenset({"pass@1", "psr", "optimal"})

    def __init__(self) -> None:
        super().__init__(size=6)

    def measure(self, attempts: Sequence[Decoded[Any]], pair: Pair) -> dict[str, Any]:
        """What the first attempt got right.

        Raises:
            ValueError: if ``pair.target`` is no grid.
        """
        truth = true_grid(pair)
        drawn = as_grid(attempts[0].label) if attempts and attempts[0].confidence > 0 else None
        if drawn is None or drawn.shape != truth.shape:
            reason = "no attempt drew a board" if drawn is None else None
            return {**dict.fromkeys(NAMES, 0.0), "failure": reason}
        length, shortest = path_length(drawn, truth), path_length(truth, truth)
        return {
            "right": np.array_equal(drawn, truth),
            "path": length > 0,
            "optimal": 0 < length <= shortest,
            "relative_length": length / shortest if shortest else 0.0,
            "cell_accuracy": float((drawn == truth).mean()),
            "failure": None,
        }

    def statistics(self, record: Mapping[str, Any]) -> NDArray[np.float64]:
        """[right, path, optimal, relative length, cell accuracy, 1]."""
        return np.array([*(float(record[name]) for name in NAMES), 1.0])

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Means over boards; ``rpl`` over those with a path."""
        names = {"pass@1": 0, "psr": 1, "optimal": 2, "cell_accuracy": 4}
        means = {name: divide(sums[..., i], sums[..., -1]) for name, i in names.items()}
        return means | {"rpl": divide(sums[..., 3], sums[..., 1])}


def path_length(drawn: NDArray[np.int64], truth: NDArray[np.int64]) -> int:
    """Steps of the way that is drawn, 0 unless it is one line over free cells from the truth's start to its end."""
    on_way = (drawn == WAY) | (truth == START) | (truth == END)
    if (on_way & (truth == WALL)).any():
        return 0
    padded = np.pad(on_way.astype(np.int64), 1)
    degree = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    ends = (truth == START) | (truth == END)
    if not ((degree == np.where(ends, 1, 2)) | ~on_way).all():
        return 0
    # Every cell has the right number of neighbours: the way is one line, unless there are also rings elsewhere.
    return int(on_way.sum()) - 1 if _one_piece(on_way) else 0


def _one_piece(cells: NDArray[np.bool_]) -> bool:
    """Whether cells hang together, through their sides."""
    reached = np.zeros_like(cells)
    reached[tuple(np.argwhere(cells)[0])] = True
    while True:
        spread = reached.copy()
        spread[1:] |= reached[:-1]
        spread[:-1] |= reached[1:]
        spread[:, 1:] |= reached[:, :-1]
        spread[:, :-1] |= reached[:, 1:]
        spread &= cells
        if (spread == reached).all():
            return bool((reached == cells).all())
        reached = spread
