"""What every task metric promises: per-sample records are the truth, scores are ratios of their sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Decoded


@dataclass(frozen=True)
class Interval:
    """A 95 % interval: ``low`` ≤ score ≤ ``high``."""

    low: float
    high: float


class TaskMetric(Metric, ABC):  # type: ignore[misc]  # torchmetrics is skipped by mypy
    """A torchmetrics class whose states are sums, fed with per-sample records.

    ``measure`` turns predictions and truth into a flat, JSON-serialisable record of *sufficient statistics*;
    ``update`` adds a record to the states (``dist_reduce_fx="sum"``, so that ranks and shards add up exactly);
    ``compute`` divides.
    Scores can therefore always be recomputed from the records on disk.
    """

    full_state_update = False
    #: name within ``compute()`` of the score that heads tables and picks the best checkpoint
    main: str

    @abstractmethod
    def measure(self, attempts: Sequence[Decoded[Any]], pair: Pair) -> dict[str, Any]:
        """Compare K ≥ 1 decoded attempts with ``pair.target``; returns plain numbers, strings and lists of them.

        No attempt at all (a missing or failed prediction) counts as a failure, not as an absence.
        """

    @abstractmethod
    def update(self, record: Mapping[str, Any]) -> None:
        """Add one sample's record to the sums."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """Scores by name, each in [0, 1] unless its name has a unit (``psnr_db``)."""

    @abstractmethod
    def intervals(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Interval]:
        """95 % interval per score, see ``intervals``; (NaN, NaN) where the samples are too few or tell nothing."""
