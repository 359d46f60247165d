"""The endless, exactly resumable stream of training clips, and the loaders' parts for evaluation."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, DistributedSampler, IterableDataset, get_worker_info

from vdmfewshot.clips.clip import Clip, Pair, collate, to_frame
from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.clips.transition import TransitionName, transition
from vdmfewshot.codecs.base import Codec
from vdmfewshot.data.augment import Augmenter

#: memory that one process may spend on finished training clips, in bytes
MEMO_BYTES = 1 << 30


@dataclass(frozen=True)
class ClipBuilder:
    """Draws pairs as clips.

    Attributes:
        codec: draws the target.
        canvas: (height, width) of the frames in pixels.
        num_frames: F, frames of a training clip.
        transition: how the input becomes the target.
    """

    codec: Codec[Any]
    canvas: tuple[int, int]
    num_frames: int
    transition: TransitionName

    def box(self, pair: Pair) -> Letterbox:
        """Where the pair's picture sits on the canvas."""
        return Letterbox(source=(pair.image.shape[0], pair.image.shape[1]), canvas=self.canvas)

    def target(self, pair: Pair) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 target frame."""
        return self.codec.encode(pair.target, self.box(pair))

    def frames(self, pair: Pair) -> Tensor:
        """(F, 3, H, W) transition clip in [-1, 1]."""
        x = to_frame(self.box(pair).place(pair.image))
        return transition(x, to_frame(self.target(pair)), self.num_frames, self.transition)

    def query(self, pair: Pair) -> Clip:
        """The input alone, (1, 3, H, W): the truth stays in ``pair.target`` and cannot reach the backbone."""
        return Clip(frames=to_frame(self.box(pair).place(pair.image))[None], pair=pair)


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(size)


def shuffled(ordinal: int, size: int, seed: int) -> int:
    """Which of ``size`` items the training sample ``ordinal`` shows; every epoch is a permutation of its own.

    A pure function of its arguments, whatever ranks, workers and restarts there are.
    """
    epoch, position = divmod(ordinal, size)
    return int(_permutation(seed, epoch, size)[position])


class ClipStream(IterableDataset[Clip]):
    """One rank's share of the endless stream of training samples n = 0, 1, 2, … of a run.

    Micro-batch m of rank r of R, with b samples each, holds the ordinals ``start + (m R + r) b … + b - 1``. Loader
    worker w of W makes the micro-batches w, w + W, …, which the loader collects in turn: the order is the same for any
    number of workers. Finished clips are kept in memory (up to ``MEMO_BYTES``) and must not be mutated.

    Args:
        support: the n training pairs.
        variants: augmented versions of each pair, the pair itself included.
        augment: makes them.
        builder: draws a pair as a clip.
        seed: seed of the order.
        batch_size: b, samples of a micro-batch on one rank.
        rank: r.
        world_size: R.
    """

    def __init__(
        self,
        support: Sequence[Pair],
        variants: int,
        augment: Augmenter,
        builder: ClipBuilder,
        seed: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.support = support
        self.variants = variants
        self.augment = augment
        self.builder = builder
        self.seed = seed
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.start = 0
        self._memo: dict[int, Clip] = {}

    def __iter__(self) -> Iterator[Clip]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for micro_batch in itertools.count(worker, workers):
            first = self.start + (micro_batch * self.world_size + self.rank) * self.batch_size
            for ordinal in range(first, first + self.batch_size):
                yield self.clip(ordinal)

    def clip(self, ordinal: int) -> Clip:
        """The training sample n = ``ordinal``."""
        index = shuffled(ordinal, len(self.support) * self.variants, self.seed)
        return replace(self._memo.get(index) or self._draw(index), ordinal=ordinal)

    def distinct(self, first: int, count: int) -> Iterator[Clip]:
        """Each clip that the samples ``first`` … ``first + count - 1`` of the run show, once."""
        size = len(self.support) * self.variants
        for ordinal in {shuffled(n, size, self.seed): n for n in range(first, first + min(count, 2 * size))}.values():
            yield self.clip(ordinal)

    def _draw(self, index: int) -> Clip:
        variant, item = divmod(index, len(self.support))
        pair = self.augment(self.support[item], variant)
        clip = Clip(frames=self.builder.frames(pair), pair=pair)
        if (len(self._memo) + 1) * clip.frames.nbytes <= MEMO_BYTES:
            self._memo[index] = clip
        return clip


class StreamLoader(DataLoader[Clip]):
    """Loader of a ``ClipStream`` that begins, each time it is iterated, where the run stands.

    Args:
        stream: the rank's share of the training stream.
        position: samples that all ranks have consumed so far.
        num_workers: loader processes.
    """

    def __init__(self, stream: ClipStream, position: Callable[[], int], num_workers: int = 0) -> None:
        super().__init__(stream, batch_size=stream.batch_size, num_workers=num_workers, collate_fn=collate)
        self.position = position

    def __iter__(self) -> Any:
        self.dataset.start = self.position()  # type: ignore[attr-defined]  # our dataset
        return super().__iter__()


class QueryClips(Dataset[Clip]):
    """Queries in order, each as a one-frame clip.

    Args:
        pairs: the queries.
        builder: draws them.
        task: name of their task in a stack of several.
    """

    def __init__(self, pairs: Sequence[Pair], builder: ClipBuilder, task: str = "") -> None:
        self.pairs = pairs
        self.builder = builder
        self.task = task

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Clip:
        return replace(self.builder.query(self.pairs[index]), task=self.task)


class OrderedShard(DistributedSampler[int]):
    """Every R-th query for this rank, in order, without the duplicates that pad ranks to equal length.

    A rank without any (one ARC test input on two GPUs) repeats the first query: Lightning skips the hooks of a rank
    without batches, and the others would wait for it for ever where records are gathered. The scorer drops repeated
    keys. Lightning's ``UnrepeatedDistributedSampler`` does the same but refuses fewer queries than ranks; a
    ``DistributedSampler`` is left in place by Lightning.
    """

    def __init__(self, dataset: QueryClips | ConcatDataset[Clip], num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.indices = range(rank, len(dataset), num_replicas) or range(1)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
