"""Classification: how often the answer is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics.sums import SumMetric, divide


class AnswerMetric(SumMetric):
    """``accuracy``: share of pictures whose first attempt names the right class; one of confidence 0 names none."""

    higher_is_better = True
    main = "accuracy"
    proportions = frozenset({"accuracy"})

    def __init__(self) -> None:
        super().__init__(size=2)

    def measure(self, attempts: Sequence[Decoded[Any]], pair: Pair) -> dict[str, Any]:
        """Compare the first attempt with ``pair.target``, the number of a class.

        Raises:
            ValueError: if the truth is no whole number.
        """
        if isinstance(pair.target, bool) or not isinstance(pair.target, int | np.integer):
            raise ValueError(f"{pair.key}: target must be the number of a class, got {pair.target!r}")
        said = attempts[0].label if attempts and attempts[0].confidence > 0 else None
        named = int(said) if isinstance(said, int | np.integer) else None
        return {
            "truth": int(pair.target),
            "answer": named,
            "right": named == int(pair.target),
            "failure": None if named is not None else "no answer",
        }

    def statistics(self, record: Mapping[str, Any]) -> NDArray[np.float64]:
        """[right, 1]."""
        return np.array([float(record["right"]), 1.0])

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Mean over pictures."""
        return {"accuracy": divide(sums[..., 0], sums[..., 1])}
