"""What data modules have in common whose examples are drawn from their number."""

from __future__ import annotations

import functools
import zlib
from abc import abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np

from vdmfewshot.clips.clip import Pair
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import Example, Splits
from vdmfewshot.data.generated.scenes import Part
from vdmfewshot.drawing.canvas import Rng

#: largest number of shots, and queries, as in the papers
POOL, QUERIES = 5000, 200
#: of the random generator, by part
PARTS: dict[Part, int] = {"support": 1, "query": 2}


def example_rng(family: int, task: str, part: Part, seed: int, index: int) -> Rng:
    """The random generator of one example: a pure function of its arguments.

    Args:
        family: number that keeps families of tasks apart.
        task: name of the task.
        part: support set or queries.
        seed: of the support set.
        index: of the example.
    """
    return np.random.default_rng([family, zlib.crc32(task.encode()), PARTS[part], seed, index])


class GeneratedDataModule(FewShotDataModule):
    """One task of a family: up to 5000 training pairs for every support seed, 200 queries, the same for all of them.

    Args:
        task: name of the task.
        known: names of all tasks of the family.
        **kwargs: see ``FewShotDataModule``.

    Raises:
        ValueError: if there is no such task.
    """

    check_pool: ClassVar[bool] = False

    def __init__(self, task: str, known: Collection[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if task not in known:
            raise ValueError(f"task must be one of {', '.join(known)}, got {task!r}")
        self.task = task
        self.task_name = task

    def load(self) -> Splits:
        """List the pairs of this support seed and the queries."""
        count = POOL if self.shots is None else min(self.shots, POOL)
        pool = [self._example("support", self.support_seed, index) for index in range(count)]
        return Splits(pool, test=[self._example("query", 0, index) for index in range(QUERIES)])

    @abstractmethod
    def draw(self, name: str, part: Part, seed: int, index: int) -> Pair:
        """Example ``index`` of a part, with ``name`` as its key."""

    def _example(self, part: Part, seed: int, index: int) -> Example:
        name = f"{self.task}-{part}-{seed}-{index:04d}"
        return Example(name, name, functools.partial(self.draw, name, part, seed, index))


def require_square(data: FewShotDataModule) -> None:
    """Raise ValueError, naming the sizes, if frames are not square."""
    if data.height != data.width:
        raise ValueError(f"height and width must be equal for generated tasks, got {data.height} x {data.width}")
