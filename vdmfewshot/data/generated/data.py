"""Generated tasks as an ordinary data module: ``vdmfewshot adapt --data EvidenceDataModule --data.task edges``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.grid import GridCodec
from vdmfewshot.codecs.image import ImageCodec
from vdmfewshot.codecs.keypoints import KeypointCodec
from vdmfewshot.codecs.mask import MaskCodec
from vdmfewshot.data.arc import draw_pair
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import Example, Splits
from vdmfewshot.data.generated import boards, people, physics, pictures
from vdmfewshot.data.generated.examples import example_rng, require_square
from vdmfewshot.data.generated.scenes import Part
from vdmfewshot.metrics.arc import ArcMetric
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.image import ImageMetric
from vdmfewshot.metrics.pose import PoseMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric

#: apart from every seed of the pretraining corpus, whose streams have two parts and these five
SEED = 2510
#: pairs of each support seed: the largest number of shots
POOL = 30
#: queries of a task, the same for every support set
QUERIES = 32


@dataclass(frozen=True)
class Generator:
    """How pairs of a task are made.

    Attributes:
        kind: what the label is.
        draw: (random numbers, side in pixels, part) → input and label; for boards two grids.
    """

    kind: Literal["picture", "mask", "pose", "board"]
    draw: Callable[[np.random.Generator, int, Part], tuple[Any, Any]]


GENERATORS: dict[str, Generator] = {
    **{name: Generator("picture", pictures.mapped(name)) for name in pictures.MAPS},
    "colourise": Generator("picture", pictures.colourise),
    "denoise": Generator("picture", pictures.denoise),
    "inpaint": Generator("picture", pictures.inpaint),
    "depth": Generator("picture", physics.depth),
    "objects_on_texture": Generator("mask", pictures.objects_on_texture),
    "objects_on_photo": Generator("mask", pictures.objects_on_photo),
    "rendered_people": Generator("pose", people.rendered_person),
    "life": Generator("board", boards.life),
    "seeds": Generator("board", boards.seeds),
    "rule_110": Generator("board", boards.rule_110),
}


def board_codec(size: int) -> GridCodec:
    """Largest cells with which the boards fit a square canvas."""
    return GridCodec.fitted([(boards.SIDE, boards.SIDE)], (size, size))


@functools.lru_cache(maxsize=4096)
def make_pair(task: str, size: int, part: Part, seed: int, index: int) -> Pair:
    """Pair ``index`` of one support set, or query ``index``: a pure function of its arguments."""
    generator = GENERATORS[task]
    rng = example_rng(SEED, task, part, seed, index)
    x, y = generator.draw(rng, size, part)
    key, meta = f"{task}-{part}-{seed}-{index:02d}", {"task": f"{task}-{index}", "source": "generated"}
    if generator.kind == "board":
        return draw_pair(key, x, y, board_codec(size), (size, size), meta)
    return Pair(key, x, y, meta)


class EvidenceDataModule(FewShotDataModule):
    """A task of the evidence table that is generated: up to 30 support pairs for every support seed, 32 queries.

    Support sets of different seeds share no pair. Queries are the same for all of them and never among them; where
    photos are shown, supports and queries show different halves.

    Args:
        task: name of the task, a key of ``GENERATORS``.
        **kwargs: see ``FewShotDataModule``; height and width must be equal.

    Raises:
        ValueError: if there is no such task, or the frames are not square.
    """

    check_pool: ClassVar[bool] = False

    def __init__(self, task: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if task not in GENERATORS:
            raise ValueError(f"task must be one of {', '.join(GENERATORS)}, got {task!r}")
        require_square(self)
        self.task = task
        self.task_name = task

    def load(self) -> Splits:
        """List the pairs of this support seed and the queries.

        Raises:
            ImportError: if an optional package that draws the task is not installed.
        """
        pool = [self._example("support", self.support_seed, index) for index in range(POOL)]
        return Splits(pool, test=[self._example("query", 0, index) for index in range(QUERIES)])

    def _example(self, part: Part, seed: int, index: int) -> Example:
        name = f"{self.task}-{part}-{seed}-{index:02d}"
        return Example(name, name, functools.partial(make_pair, self.task, self.height, part, seed, index))

    def make_codec(self) -> Codec[Any]:
        """As the label demands."""
        kind = GENERATORS[self.task].kind
        if kind == "board":
            return board_codec(self.height)
        if kind == "pose":
            return KeypointCodec(len(people.COCO_JOINTS))
        return MaskCodec() if kind == "mask" else ImageCodec()

    def make_metric(self) -> TaskMetric:
        """As the label demands."""
        kind = GENERATORS[self.task].kind
        if kind == "board":
            return ArcMetric(1)
        if kind == "pose":
            return PoseMetric(len(people.COCO_JOINTS), people.SIGMAS)
        return SegmentationMetric(2) if kind == "mask" else ImageMetric()
