"""Several tasks at once: the data modules of K tasks side by side, each exactly as it would be alone."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import ConcatDataset, DataLoader

from vdmfewshot.clips.clip import Clip, ClipBatch, collate
from vdmfewshot.clips.transition import TransitionName
from vdmfewshot.data.base import FewShotDataModule, Stage
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.stream import OrderedShard, StreamLoader


class StackedLoader:
    """Micro-batches of K tasks joined: those of the first task, then those of the second, ….

    Args:
        loaders: endless training loader of each task by name.
    """

    def __init__(self, loaders: Mapping[str, StreamLoader]) -> None:
        self.loaders = loaders

    def __iter__(self) -> Iterator[ClipBatch]:
        for parts in zip(*self.loaders.values(), strict=True):
            yield join(dict(zip(self.loaders, parts, strict=True)))


def join(parts: Mapping[str, ClipBatch]) -> ClipBatch:
    """One batch of the batches of several tasks, in their order and marked with their names."""
    batches = list(parts.values())
    return ClipBatch(
        frames=torch.cat([batch.frames for batch in batches]),
        pairs=tuple(itertools.chain.from_iterable(batch.pairs for batch in batches)),
        ordinals=tuple(itertools.chain.from_iterable(batch.ordinals for batch in batches)),
        digests=tuple(itertools.chain.from_iterable(batch.digests for batch in batches)),
        tasks=tuple(name for name, batch in parts.items() for _ in range(len(batch))),
    )


class StackedDataModule(LightningDataModule):
    """K tasks for one stack of adapters: micro-batches hold ``batch_size`` samples of every task.

    Every task keeps its own stream, order, noise and position: what it is trained on is what it would be trained on
    alone. Tasks may differ in their number of shots and queries. Queries of several tasks share batches.

    Args:
        tasks: their data modules; their ``task_name`` names them.
        eval_batch_size: queries of a batch on each device, of whichever tasks.
    """

    offered: ClassVar[bool] = False

    def __init__(self, tasks: list[FewShotDataModule], eval_batch_size: int = 8) -> None:
        super().__init__()
        if eval_batch_size < 1:
            raise ValueError(f"eval_batch_size must be at least 1, got {eval_batch_size}")
        self.members = tasks
        self.eval_batch_size = eval_batch_size
        self._tasks: dict[str, FewShotDataModule] = {}

    def make_tasks(self) -> Sequence[FewShotDataModule]:
        """The data modules of all tasks; called once, by ``setup``."""
        return self.members

    def setup(self, stage: str | None = None) -> None:
        """Read all tasks; the second time, only the trainer is passed on to them.

        Raises:
            ValueError: if there is no task, or tasks share a name or differ in what a stack needs them to share.
            DataError: naming every problem of every task.
        """
        if not self._tasks:
            members = list(self.make_tasks())
            check_names(members)
            tasks = {data.task_name: data for data in members}
            for data in members:
                data.trainer = self.trainer
            _read_all(tasks)
            for rule in SHARED:
                check_shared(tasks, *rule)
            self._tasks = tasks
        for data in self._tasks.values():
            data.trainer = self.trainer

    @property
    def tasks(self) -> Mapping[str, FewShotDataModule]:
        """Data modules by name, in the order of the stack; available after ``setup``."""
        if not self._tasks:
            raise RuntimeError(f"{type(self).__name__}: call setup() first; nothing has been read yet")
        return self._tasks

    @property
    def task_name(self) -> str:
        """``16 tasks``: heads tables."""
        return f"{len(self.tasks)} tasks"

    @property
    def clip_shape(self) -> tuple[int, int, int]:
        """(F, H, W) of training clips, the same for all tasks."""
        return next(iter(self.tasks.values())).clip_shape

    @property
    def transition(self) -> TransitionName:
        """How inputs become targets, the same for all tasks."""
        return next(iter(self.tasks.values())).transition

    @property
    def sparse(self) -> bool:
        """Whether targets have little paint, the same for all tasks, which share a codec."""
        return next(iter(self.tasks.values())).sparse

    @property
    def batch_size(self) -> int:
        """Samples of a micro-batch on one device, over all tasks."""
        return sum(data.batch_size for data in self.tasks.values())

    def train_dataloader(self) -> StackedLoader:
        """Endless loader of this rank's training micro-batches: K x ``batch_size`` samples, task by task.

        Raises:
            ValueError: see ``FewShotDataModule.train_dataloader``.
        """
        return StackedLoader({name: data.train_dataloader() for name, data in self.tasks.items()})

    def val_dataloader(self) -> DataLoader[Clip] | list[DataLoader[Clip]]:
        """This rank's validation queries of all tasks, or no loader if there are none."""
        return self._query_loader("validate") or []

    def test_dataloader(self) -> DataLoader[Clip]:
        """This rank's test queries of all tasks.

        Raises:
            ValueError: if there are none.
        """
        return self._required(self._query_loader("test"))

    def predict_dataloader(self) -> DataLoader[Clip]:
        """This rank's inputs to predict of all tasks.

        Raises:
            ValueError: if there are none.
        """
        return self._required(self._query_loader("predict"))

    def state_dict(self) -> dict[str, Any]:
        """Where every task stands in its training stream."""
        return {"tasks": {name: data.state_dict() for name, data in self.tasks.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the training streams of a checkpoint, which ``StackedModule`` has found to be of the same tasks."""
        for name, data in self.tasks.items():
            data.load_state_dict(state_dict["tasks"][name])

    def _query_loader(self, stage: Stage) -> DataLoader[Clip] | None:
        clips: ConcatDataset[Clip] = ConcatDataset(data.query_clips(stage, name) for name, data in self.tasks.items())
        if not len(clips):
            return None
        rank, size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = self.make_sampler(clips, rank, size)
        return DataLoader(clips, batch_size=self.eval_batch_size, sampler=sampler, collate_fn=collate)

    def make_sampler(self, clips: ConcatDataset[Clip], rank: int, size: int) -> OrderedShard:
        """Which of the queries, those of the first task first, this rank asks, and in which order."""
        return OrderedShard(clips, num_replicas=size, rank=rank)

    def _required(self, loader: DataLoader[Clip] | None) -> DataLoader[Clip]:
        if loader is None:
            raise ValueError(f"{self.task_name}: there are no queries in any of them")
        return loader


class ListedDataModule(StackedDataModule):
    """Tasks of one kind that the configuration lists by their ids, as ``tasks``; ``vdmfewshot fleet`` cuts such lists.

    Args:
        tasks: ids; all that there are if not given.
        eval_batch_size: queries of a batch on each device, of whichever tasks.
    """

    offered: ClassVar[bool] = False

    def __init__(self, tasks: list[str] | None = None, eval_batch_size: int = 8) -> None:
        super().__init__([], eval_batch_size)
        self.listed = tasks

    @abstractmethod
    def all_ids(self) -> list[str]:
        """Ids of all tasks that there are."""

    @abstractmethod
    def make_task(self, task: str) -> FewShotDataModule:
        """The data module of one task by its id; reads nothing."""

    @property
    def ids(self) -> list[str]:
        """Ids of the tasks, in the order of the stack."""
        return self.all_ids() if self.listed is None else self.listed

    def make_tasks(self) -> Sequence[FewShotDataModule]:
        """One data module per id."""
        return [self.make_task(task) for task in self.ids]


#: what all tasks of a stack must share: what it is called, how to ask a task for it, and what to do
SHARED: tuple[tuple[str, Callable[[FewShotDataModule], Any], str], ...] = (
    ("clip shape (frames, height, width)", lambda data: data.clip_shape, "set num_frames, height and width alike"),
    ("transition", lambda data: data.transition, "set it alike"),
    ("batch_size", lambda data: data.batch_size, "set it alike"),
    ("codec", lambda data: type(data.codec).__name__, "stack tasks of one kind"),
    ("main score", lambda data: data.make_metric().main, "stack tasks of one kind"),
)


def check_names(members: Sequence[FewShotDataModule]) -> None:
    """Raise ValueError if there is no task, or if two share a name."""
    names = [data.task_name for data in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        problem = f"got {', '.join(map(repr, twice))} more than once" if twice else "got none"
        raise ValueError(f"a stack needs tasks of different names, {problem}; list each task once")


def check_shared(
    tasks: Mapping[str, FewShotDataModule], what: str, read: Callable[[FewShotDataModule], Any], remedy: str
) -> None:
    """Raise ValueError naming two tasks that differ in something that all tasks of a stack must share."""
    values = {name: read(data) for name, data in tasks.items()}
    first = next(iter(values))
    for name, value in values.items():
        if value != values[first]:
            raise ValueError(
                f"all tasks of a stack must have one {what}, got {values[first]} for {first!r} and {value} for "
                f"{name!r}; {remedy}"
            )


def _read_all(tasks: Mapping[str, FewShotDataModule]) -> None:
    problems: list[str] = []
    for name, data in tasks.items():
        try:
            data.setup()
        except DataError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise DataError(problems)
