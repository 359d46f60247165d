"""What every data module promises: a support set of n shots, a resumable stream of training clips, and queries."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loops.progress import _ProcessedTracker
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from vdmfewshot.clips.clip import Clip, Pair, collate
from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.clips.rng import run_seed
from vdmfewshot.clips.transition import TransitionName
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.data.augment import Augmenter, unchanged
from vdmfewshot.data.examples import LazyPairs, Splits, choose_support, evenly_spaced, picture_digest, read_and_check
from vdmfewshot.data.limits import at_least
from vdmfewshot.data.shape import ShapedDataModule
from vdmfewshot.data.stream import ClipBuilder, ClipStream, OrderedShard, QueryClips, StreamLoader
from vdmfewshot.data.survey import Survey, tell
from vdmfewshot.metrics.base import TaskMetric

Stage = Literal["validate", "test", "predict"]


class FewShotDataModule(ShapedDataModule, ABC):
    """Support set, training stream and queries of one task.

    A subclass says what there is (``load``), how labels are drawn (``make_codec``), scored (``make_metric``) and
    varied (``make_augmenter``). The constructor reads no file; ``setup`` reads and checks all of them and reports every
    bad one at once.

    The training stream is endless: end a run with ``trainer.max_steps``.

    Args:
        shots: n, size of the support set; all labelled training pairs if not given.
        support_seed: which n of them. The n-shot sets of one seed are nested: the first n of one permutation.
        num_frames: F, frames of a training clip, first and last included; what suits the model if not given.
        height: height of the frames in pixels.
        width: width of the frames in pixels.
        transition: how the input becomes the target within a clip; what suits the model if not given.
        batch_size: training samples of a micro-batch on each device.
        eval_batch_size: queries of a batch on each device.
        num_workers: loader processes per loader; the order of samples does not depend on it.
        variants: augmented versions of each training pair, the pair itself included; a finite number, so that their
            latents are cached.
        seed: seed of order and augmentation; ``seed_everything`` if not given.
        max_queries: at most this many queries a stage, evenly spaced over all of them; all if not given.
        strict: refuse data with a bad annotation, instead of leaving it out and saying so.
    """

    #: whether training pairs beyond the support set are read and checked too
    check_pool: ClassVar[bool] = True
    #: whether a scored query that shows a training picture is an error
    unseen_queries: ClassVar[bool] = True
    #: whether targets are mostly background, as those of joints are; see ``FewShotModule``'s ``emphasis``
    sparse: ClassVar[bool] = False
    #: name of the task in tables, logs and file names
    task_name: str

    def __init__(
        self,
        shots: int | None = None,
        support_seed: int = 0,
        num_frames: int | None = None,
        height: int = 96,
        width: int = 96,
        transition: TransitionName | None = None,
        batch_size: int = 4,
        eval_batch_size: int = 8,
        num_workers: int = 0,
        variants: int = 1,
        seed: int | None = None,
        max_queries: int | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(num_frames, height, width, transition)
        self.shots = at_least("shots", shots, 1)
        self.support_seed = at_least("support_seed", support_seed, 0)
        self.batch_size = at_least("batch_size", batch_size, 1)
        self.eval_batch_size = at_least("eval_batch_size", eval_batch_size, 1)
        self.num_workers = at_least("num_workers", num_workers, 0)
        self.variants = at_least("variants", variants, 1)
        self.seed = at_least("seed", run_seed(seed), 0)
        self.max_queries = at_least("max_queries", max_queries, 1)
        self.strict = strict
        self.survey = Survey()
        self._support: list[Pair] | None = None
        self._queries: dict[Stage, LazyPairs] = {}
        self._resumed_batches = self._resumed_samples = 0
        self._resumed_support: str | None = None

    @abstractmethod
    def load(self) -> Splits:
        """List the examples, or raise DataError. Cheap: pictures are read later, by each example's ``read``."""

    @abstractmethod
    def make_codec(self) -> Codec[Any]:
        """The codec of this task's labels; called once, after ``load``."""

    @abstractmethod
    def make_metric(self) -> TaskMetric:
        """A fresh metric for this task's labels."""

    def make_augmenter(self) -> Augmenter | None:
        """A picklable (pair, variant) → pair; ``None`` if the task has no label-preserving augmentation."""
        return None

    def setup(self, stage: str | None = None) -> None:
        """Choose the support set, read and check all examples. Does nothing the second time.

        Raises:
            DataError: naming every unreadable, unlabelled or leaked example.
            ValueError: if the settings contradict the data.
        """
        if self._support is not None:
            return
        splits = self.load()
        self.survey = Survey(splits.left_out, self.unseen_queries, unused=splits.unused)
        self.survey.require_clean(self.strict)
        support, spare = choose_support(splits.pool, self.shots, self.support_seed)
        self._codec = self.make_codec()
        self._augmenter = self._checked_augmenter()
        tested = [*splits.test, *(spare if splits.hold_out else ())]
        self._queries = {
            "validate": LazyPairs(evenly_spaced(splits.validate, self.max_queries)),
            "test": LazyPairs(evenly_spaced(tested, self.max_queries)),
            "predict": LazyPairs(evenly_spaced(splits.predict or tested, self.max_queries)),
        }
        self._support = read_and_check(
            support,
            scored=[*self._queries["validate"].examples, *self._queries["test"].examples],
            unscored=[*self._queries["predict"].examples, *(spare if self.check_pool and not splits.hold_out else ())],
            draw=self._builder.target,
            problems=splits.problems,
            unseen=self.unseen_queries,
            look=self.survey.add,
        )
        tell(self.task_name, self.survey)

    @property
    def codec(self) -> Codec[Any]:
        """How labels are drawn; available after ``setup``."""
        self._require_setup()
        return self._codec

    @property
    def support(self) -> list[Pair]:
        """The n training pairs; available after ``setup``."""
        self._require_setup()
        return self._support or []

    @property
    def _builder(self) -> ClipBuilder:
        return ClipBuilder(self._codec, (self.height, self.width), self.num_frames, self.transition)

    def queries(self, stage: Stage) -> Sequence[Pair]:
        """Inputs of a stage in order, read from disk one by one as they are accessed; available after ``setup``."""
        self._require_setup()
        return self._queries[stage]

    def query_clips(self, stage: Stage, task: str = "") -> QueryClips:
        """Inputs of a stage as one-frame clips, marked with the task's name in a stack; available after ``setup``."""
        return QueryClips(self.queries(stage), self._builder, task)

    def box(self, pair: Pair) -> Letterbox:
        """Where a pair's picture sits on the canvas."""
        return Letterbox(source=(pair.image.shape[0], pair.image.shape[1]), canvas=(self.height, self.width))

    def decode(self, frame: NDArray[np.floating[Any]], pair: Pair) -> Decoded[Any]:
        """Read the label of a generated (H, W, 3) frame in [0, 255], in source pixels of the pair."""
        return self.codec.decode(frame, self.box(pair))

    def augment(self, pair: Pair, variant: int) -> Pair:
        """Version ``variant`` of a training pair, a pure function of (seed, pair, variant); 0 is the pair itself."""
        self._require_setup()
        return self._augmenter(pair, variant) if variant else pair

    def mean_target(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 mean of the support set's target frames: the input-independent baseline prediction."""
        targets = [self._builder.target(pair).astype(np.float64) for pair in self.support]
        return np.asarray(np.round(np.mean(targets, axis=0)), dtype=np.uint8)

    def train_dataloader(self) -> StreamLoader:
        """Endless loader of this rank's training micro-batches, continuing where the run stands.

        Raises:
            ValueError: if there is no training pair, nothing would ever end the run, or the run is resumed from a
                checkpoint of another support set.
        """
        if not self.support:
            raise ValueError(f"{self.task_name}: no labelled training pairs, so there is nothing to fit")
        self._require_end()
        self._require_same_support()
        rank, world_size = self._place()
        stream = ClipStream(
            self.support, self.variants, self._augmenter, self._builder, self.seed, self.batch_size, rank, world_size
        )
        return StreamLoader(stream, self._consumed_samples, self.num_workers)

    def val_dataloader(self) -> DataLoader[Clip] | list[DataLoader[Clip]]:
        """This rank's validation queries, or no loader if there are none."""
        return self._query_loader("validate") if self.queries("validate") else []

    def test_dataloader(self) -> DataLoader[Clip]:
        """This rank's test queries.

        Raises:
            ValueError: if there are none.
        """
        return self._query_loader("test")

    def predict_dataloader(self) -> DataLoader[Clip]:
        """This rank's inputs to predict.

        Raises:
            ValueError: if there are none.
        """
        return self._query_loader("predict")

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands in the training stream, exact at every optimizer step, and what it draws from."""
        return {
            "micro_batches": self._processed_batches(),
            "samples": self._consumed_samples(),
            "support": self._support_digest(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the training stream of a checkpoint, also on another number of devices.

        Training then refuses another support set; evaluating a checkpoint on other data is fine.
        """
        self._resumed_support = str(state_dict["support"])
        self._resumed_batches = int(state_dict["micro_batches"])
        self._resumed_samples = int(state_dict["samples"])

    def _checked_augmenter(self) -> Augmenter:
        augmenter = self.make_augmenter()
        if augmenter is None and self.variants > 1:
            raise ValueError(f"{self.task_name}: variants must be 1 without an augmentation, got {self.variants}")
        return augmenter or unchanged

    def _query_loader(self, stage: Stage) -> DataLoader[Clip]:
        clips = self.query_clips(stage)
        if not len(clips):
            raise ValueError(f"{self.task_name}: there are no queries to {stage}")
        rank, world_size = self._place()
        shard = OrderedShard(clips, num_replicas=world_size, rank=rank)
        size, workers = self.eval_batch_size, self.num_workers
        return DataLoader(clips, batch_size=size, sampler=shard, num_workers=workers, collate_fn=collate)

    def _place(self) -> tuple[int, int]:
        """(rank, world size) of this process."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _processed_batches(self) -> int:
        """Micro-batches this rank has trained on, over all epochs and restarts. Prefetched ones do not count."""
        if self.trainer is None:
            return self._resumed_batches
        return cast(_ProcessedTracker, self.trainer.fit_loop.epoch_loop.batch_progress.total).processed

    def _consumed_samples(self) -> int:
        """Samples all ranks have trained on: the next ordinal."""
        batches = self._processed_batches() - self._resumed_batches
        return self._resumed_samples + batches * self.batch_size * self._place()[1]

    def _support_digest(self) -> str:
        """Identity of the training stream: its pictures, targets, variants and seed."""
        digest = hashlib.sha256(f"{self.seed} {self.variants}".encode())
        for pair in self.support:
            digest.update(f"{pair.key} {picture_digest(pair)}".encode() + self._builder.target(pair).tobytes())
        return digest.hexdigest()

    def _require_setup(self) -> None:
        if self._support is None:
            raise RuntimeError(f"{type(self).__name__}: call setup() first; nothing has been read yet")

    def _require_same_support(self) -> None:
        if self._resumed_support not in (None, self._support_digest()):
            raise ValueError(
                f"{self.task_name}: the checkpoint was trained on another support set (its pairs, shots, support_seed, "
                "variants or seed differ); resume with the settings it was made with, or start a new run"
            )

    def _require_end(self) -> None:
        trainer = self.trainer
        if trainer is None or trainer.max_steps != -1 or isinstance(trainer.limit_train_batches, int):
            return
        # a list by now
        if not any(isinstance(callback, Timer) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            raise ValueError("the training stream is endless: set trainer.max_steps (or trainer.max_time)")
