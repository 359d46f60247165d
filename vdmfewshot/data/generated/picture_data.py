"""Picture tasks as an ordinary data module: ``vdmfewshot adapt -c tasks/jigsaw``."""

from __future__ import annotations

import functools
from typing import Any

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Codec
from vdmfewshot.data.generated.examples import GeneratedDataModule, example_rng, require_square
from vdmfewshot.data.generated.picture_tasks import PICTURES
from vdmfewshot.data.generated.scenes import Part
from vdmfewshot.metrics.base import TaskMetric

#: apart from the seeds of the evidence and of the boards
SEED = 7280


@functools.lru_cache(maxsize=1024)
def make_picture(task: str, size: int, part: Part, seed: int, index: int) -> tuple[Any, Any]:
    """Picture and label ``index`` of one support set, or of the queries: a pure function of its arguments."""
    rng = example_rng(SEED, task, part, seed, index)
    return PICTURES[task].draw(rng, size, part)


class PictureDataModule(GeneratedDataModule):
    """A picture task of arXiv 2506.07280: up to 5000 training pairs, 200 queries, generated and seeded.

    Queries show other halves of photos, and other objects, than training pairs; they are the same for every support
    set. The data of the paper cannot be had with a package, so these are tasks of the same kind, not its benchmark.

    Args:
        task: name of the task, a key of ``PICTURES``.
        **kwargs: see ``FewShotDataModule``; height and width must be equal.

    Raises:
        ValueError: if there is no such task, the frames are not square, or a package is missing.
    """

    def __init__(self, task: str, **kwargs: Any) -> None:
        super().__init__(task, PICTURES, **kwargs)
        require_square(self)
        if missing := PICTURES[task].missing:
            raise ValueError(f"{task} needs {PICTURES[task].needs[0]}: pip install 'vdmfewshot[{missing}]'")

    def make_codec(self) -> Codec[Any]:
        """As the label demands."""
        return PICTURES[self.task].codec()

    def make_metric(self) -> TaskMetric:
        """As the label demands."""
        return PICTURES[self.task].metric()

    def draw(self, name: str, part: Part, seed: int, index: int) -> Pair:
        """See ``GeneratedDataModule.draw``."""
        image, label = make_picture(self.task, self.height, part, seed, index)
        return Pair(name, image, label, {"task": name, "source": "generated"})
