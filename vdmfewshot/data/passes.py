"""Label maps of more classes than one clip holds: passes of a few classes each, merged into one map."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset

from vdmfewshot.clips.clip import Clip, Pair
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.labelmap import IGNORE, LabelMapCodec
from vdmfewshot.data.augment import Augmenter, Jitter
from vdmfewshot.data.base import FewShotDataModule, Stage
from vdmfewshot.data.examples import Example, LazyPairs, Splits
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.stack import StackedDataModule
from vdmfewshot.data.stream import OrderedShard
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric

#: classes of one pass, without the background
MOST = 7
#: stages whose queries a pass takes over
STAGES: tuple[Stage, ...] = ("validate", "test", "predict")


def groups_of(num_classes: int, most: int = MOST) -> list[tuple[int, ...]]:
    """Classes 1 … ``num_classes`` - 1 in as few groups as can be, of sizes that differ by one at most, in order."""
    count = -(-(num_classes - 1) // most)
    return [tuple(part.tolist()) for part in np.array_split(np.arange(1, num_classes), count)]


def restrict(label: NDArray[np.uint8], group: Sequence[int]) -> NDArray[np.uint8]:
    """A map of all classes as one pass sees it: its classes from 1, everything else as background, 255 stays."""
    table = np.zeros(256, dtype=np.uint8)
    table[list(group)] = np.arange(1, len(group) + 1)
    table[IGNORE] = IGNORE
    return np.asarray(table[label])


def restricted(pair: Pair, group: Sequence[int]) -> Pair:
    """A pair with its label map as one pass sees it."""
    return pair if pair.target is None else replace(pair, target=restrict(pair.target, group))


def read_restricted(example: Example, group: Sequence[int]) -> Pair:
    """Read a pair for one pass."""
    return restricted(example.read(), group)


@dataclass(frozen=True)
class PassAnswer(Decoded[NDArray[np.uint8]]):
    """What one pass says: a map of the classes of all passes, 0 where it claims none.

    Attributes:
        evidence: (h, w) in [0, 1], see ``LabelMapCodec.evidence``.
    """

    evidence: NDArray[np.float32] | None = None


def merge(answers: Sequence[PassAnswer]) -> Decoded[NDArray[np.uint8]]:
    """One map of what all passes say: where several claim a pixel, the one with the most evidence has it.

    Returns:
        (h, w) uint8; confidence is the mean of the passes', details hold each and the share of contested pixels.
    """
    evidence = np.stack([a.evidence if a.evidence is not None else np.zeros(a.label.shape) for a in answers])
    claims = np.stack([answer.label > 0 for answer in answers])
    winner = np.where(claims, evidence, -1.0).argmax(axis=0)
    label = np.take_along_axis(np.stack([answer.label for answer in answers]), winner[None], axis=0)[0]
    details = {f"confidence_{i}": answer.confidence for i, answer in enumerate(answers, 1)}
    details["contested"] = float((claims.sum(axis=0) > 1).mean())
    return Decoded(label, float(np.mean([answer.confidence for answer in answers])), details)


class AllClasses(PairsDataModule):
    """Label maps of any number of classes: what the passes of ``ClassPassesDataModule`` take their share of.

    Its queries are asked in every pass: versions, see ``decode``, that ``join`` makes one answer of.
    """

    offered: ClassVar[bool] = False

    most_classes: ClassVar[int] = IGNORE

    def make_codec(self) -> Codec[Any]:
        """Refuses labels that are no classes; frames of it are never shown to a model."""
        return UncolouredCodec(self.num_classes)

    @functools.cached_property
    def passes(self) -> list[ClassPass]:
        """One for each group of classes; available after ``setup``."""
        return [ClassPass(self, group, i) for i, group in enumerate(groups_of(self.num_classes), 1)]

    def query(self, key: str) -> Pair:
        """A query by its key, read again, with the truth of all classes."""
        found = (e for stage in STAGES for e in self._queries[stage].examples if e.key == key)
        return next(found).read()

    def decode(self, frame: NDArray[np.floating[Any]], pair: Pair, view: int = 0) -> PassAnswer:
        """What the frame of pass ``view`` says, in classes of all passes."""
        part, box = self.passes[view], self.box(pair)
        found = part.codec.decode(frame, box)
        label = np.array([0, *part.group], dtype=np.uint8)[found.label]
        return PassAnswer(label, found.confidence, found.details, part.codec.evidence(frame, box))

    def join(self, attempts: Sequence[Decoded[Any]]) -> list[Decoded[Any]]:
        """The one answer of all passes; none if one of them is missing."""
        answers = [attempt for attempt in attempts if isinstance(attempt, PassAnswer)]
        return [merge(answers)] if len(answers) == len(self.passes) else []

    def drawings(self, pair: Pair) -> list[NDArray[np.uint8]]:
        """The truth as each pass is to draw it."""
        truth: Any = pair.target
        return [part.codec.encode(restrict(truth, part.group), self.box(pair)) for part in self.passes]

    def mean_drawings(self) -> list[NDArray[np.uint8]]:
        """The mean of what each pass is trained to draw."""
        return [part.mean_target() for part in self.passes]


class UncolouredCodec(LabelMapCodec):
    """Label maps of up to 255 classes as grey levels: a check of labels, not a drawing for models."""

    def __init__(self, num_classes: int, smooth: bool = False) -> None:
        super().__init__(2, smooth)
        self.num_classes = num_classes

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """Level = class."""
        return tuple((i, i, i) for i in range(self.num_classes))


class ClassPass(FewShotDataModule):
    """One pass: the pairs of all classes, of which it draws a few.

    Args:
        whole: all classes, set up.
        group: numbers of its classes.
        number: of the pass, from 1.
    """

    offered: ClassVar[bool] = False

    def __init__(self, whole: AllClasses, group: tuple[int, ...], number: int) -> None:
        same = ("support_seed", "height", "width", "batch_size", "eval_batch_size", "num_workers", "variants", "seed")
        shape: dict[str, Any] = {"num_frames": whole._num_frames, "transition": whole._transition}
        super().__init__(**shape, **{name: getattr(whole, name) for name in same})
        self.whole = whole
        self.group = group
        self.task_name = f"pass-{number}"
        names = whole.class_names or tuple(map(str, range(whole.num_classes)))
        self.class_names = (names[0], *(names[i] for i in group))

    def load(self) -> Splits:
        """Everything that was read of all classes, as this pass sees it."""
        support = [Example(p.key, p.key, functools.partial(restricted, p, self.group)) for p in self.whole.support]
        return Splits(support, self._examples("validate"), self._examples("test"), self._examples("predict"))

    def setup(self, stage: str | None = None) -> None:
        """Take over what was read and checked once for all passes."""
        if self._support is None:
            self._codec = self.make_codec()
            self._augmenter = self._checked_augmenter()
            splits = self.load()
            found = (splits.validate, splits.test, splits.predict)
            self._queries = {name: LazyPairs(part) for name, part in zip(STAGES, found, strict=True)}
            self._support = [example.read() for example in splits.pool]

    def _examples(self, stage: Stage) -> list[Example]:
        found = self.whole._queries[stage].examples
        return [Example(e.key, e.source, functools.partial(read_restricted, e, self.group)) for e in found]

    @property
    def codec(self) -> LabelMapCodec:
        """How its classes are drawn; available after ``setup``."""
        self._require_setup()
        assert isinstance(self._codec, LabelMapCodec), "only label maps have passes"
        return self._codec

    def make_codec(self) -> LabelMapCodec:
        """One colour for each of its classes."""
        return LabelMapCodec(len(self.group) + 1)

    def make_metric(self) -> TaskMetric:
        """IoU of its classes."""
        return SegmentationMetric(len(self.group) + 1)

    def make_augmenter(self) -> Augmenter:
        """Input and label map moved together."""
        return Jitter(self.seed)


class ClassPassesDataModule(StackedDataModule):
    """Label maps of up to 255 classes: ``PairsDataModule`` in passes of at most seven classes and the background.

    Every pass has an adapter of its own, all of them train side by side in one stack, and what they answer is merged:
    one label map a picture, one score over all classes. One adapter that is told by a mark in its input which classes
    are meant would have to learn the mark as well, from the same few pairs.

    Args:
        root: see ``PairsDataModule``.
        target: ``labels``.
        num_classes: background included, where values are classes; follows from ``classes``, a table beside the masks
            or the export otherwise.
        classes: see ``PairsDataModule``.
        category: see ``PairsDataModule``.
        eval_batch_size: queries of a batch on each device, counted once for each pass.
        **kwargs: see ``PairsDataModule``.
    """

    def __init__(
        self,
        root: str,
        target: Literal["labels"] = "labels",
        num_classes: int | None = None,
        classes: dict[str, int | list[int]] | None = None,
        category: str | list[str] | None = None,
        eval_batch_size: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__([], eval_batch_size)
        self.merged = AllClasses(
            root=root, target=target, num_classes=num_classes, classes=classes, category=category, **kwargs
        )

    def make_tasks(self) -> Sequence[FewShotDataModule]:
        """The passes, in order of their classes."""
        self.merged.setup()
        return self.merged.passes

    def setup(self, stage: str | None = None) -> None:
        """Read everything once, then share it out; see ``StackedDataModule.setup``."""
        super().setup(stage)
        self.merged.trainer = self.trainer

    @property
    def task_name(self) -> str:
        """Heads tables: the data, and how many passes there are."""
        return f"{self.merged.task_name}, {self.merged.num_classes} classes in {len(self.tasks)} passes"

    def make_sampler(self, clips: ConcatDataset[Clip], rank: int, size: int) -> OrderedShard:
        """All passes of a query one after the other, on one rank."""
        return PassShard(clips, len(self.tasks), rank, size)


class PassShard(OrderedShard):
    """Every R-th query for this rank, all passes of it; see ``OrderedShard``.

    Args:
        clips: of the first pass, then of the second, ….
        passes: how many.
        rank: of this process.
        size: R.
    """

    def __init__(self, clips: ConcatDataset[Clip], passes: int, rank: int, size: int) -> None:
        super().__init__(clips, num_replicas=size, rank=rank)
        self.order = list(self._order(len(clips) // passes, passes))

    def _order(self, queries: int, passes: int) -> Iterator[int]:
        for query in range(self.rank, queries, self.num_replicas) or range(1):
            yield from (part * queries + query for part in range(passes))

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)
