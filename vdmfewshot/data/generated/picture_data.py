"""Picture tasks as an ordinary data module: ``vdmfewshot adapt -c tasks/jigsaw``."""

from __future__ import annotations

import functools
import zlib
from typing import Any, ClassVar

import numpy as np

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Codec
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import Example, Splits
from vdmfewshot.data.generated.board_data import POOL, QUERIES
from vdmfewshot.data.generated.picture_tasks import PICTURES
from vdmfewshot.data.generated.scenes import Part
from vdmfewshot.metrics.base import TaskMetric

#: apart from the seeds of the evidence and of the boards
SEED = 7280


@functools.lru_cache(maxsize=1024)
def make_picture(task: str, size: int, part: Part, seed: int, index: int) -> tuple[Any, Any]:
    """Picture and label ``index`` of one support set, or of the queries: a pure function of its arguments."""
    parts: dict[Part, int] = {"support": 1, "query": 2}
    rng = np.random.default_rng([SEED, zlib.crc32(task.encode()), parts[part], seed, index])
    return PICTURES[task].draw(rng, size, part)


class PictureDataModule(FewShotDataModule):
    """A picture task of arXiv 2506.07280: up to 5000 training pairs, 200 queries, generated and seeded.

    Queries show other halves of photos, and other objects, than training pairs; they are the same for every support
    set. The data of the paper cannot be had with a package, so these are tasks of the same kind, not its benchmark.

    Args:
        task: name of the task, a key of ``PICTURES``.
        **kwargs: see ``FewShotDataModule``; height and width must be equal.

    Raises:
        ValueError: if there is no such task, the frames are not square, or a package is missing.
    """

    check_pool: ClassVar[bool] = False

    def __init__(self, task: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if task not in PICTURES:
            raise ValueError(f"task must be one of {', '.join(PICTURES)}, got {task!r}")
        if self.height != self.width:
            raise ValueError(f"height and width must be equal for generated tasks, got {self.height} x {self.width}")
        if missing := PICTURES[task].missing:
            raise ValueError(f"{task} needs {PICTURES[task].needs[0]}: pip install 'vdmfewshot[{missing}]'")
        self.task = task
        self.task_name = task

    def load(self) -> Splits:
        """List the pairs of this support seed and the queries."""
        count = POOL if self.shots is None else min(self.shots, POOL)
        pool = [self._example("support", self.support_seed, index) for index in range(count)]
        return Splits(pool, test=[self._example("query", 0, index) for index in range(QUERIES)])

    def make_codec(self) -> Codec[Any]:
        """As the label demands."""
        return PICTURES[self.task].codec()

    def make_metric(self) -> TaskMetric:
        """As the label demands."""
        return PICTURES[self.task].metric()

    def _example(self, part: Part, seed: int, index: int) -> Example:
        name = f"{self.task}-{part}-{seed}-{index:04d}"
        return Example(name, name, functools.partial(self._read, name, part, seed, index))

    def _read(self, name: str, part: Part, seed: int, index: int) -> Pair:
        image, label = make_picture(self.task, self.height, part, seed, index)
        return Pair(name, image, label, {"task": name, "source": "generated"})
