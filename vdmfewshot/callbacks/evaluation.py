"""From a generated clip to a record: what the scorer and the pictures share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from torch import Tensor

from vdmfewshot.clips.clip import Pair, to_frame, to_image
from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.storage.tensors import is_finite

#: why an attempt is none
NOT_FINITE = "non-finite values in the generated clip"


class TaskData(Protocol):
    """What callbacks need of a data module. It may also have ``decode(frame, pair)``, see ``decoder``."""

    task_name: str

    @property
    def codec(self) -> Codec[Any]:
        """How labels are drawn."""

    @property
    def clip_shape(self) -> tuple[int, int, int]:
        """(F, H, W) of clips."""

    def make_metric(self) -> TaskMetric:
        """A fresh metric."""

    def box(self, pair: Pair) -> Letterbox:
        """Where a pair's picture sits on the canvas."""

    def mean_target(self) -> NDArray[np.uint8]:
        """(H, W, 3) mean of the support set's target frames."""


Decoder = Callable[[NDArray[Any], Pair], Decoded[Any]]
Join = Callable[[Sequence[Decoded[Any]]], list[Decoded[Any]]]


def decoder(data: TaskData) -> Decoder:
    """(frame (H, W, 3) in [0, 255], pair) → label: the data module's own ``decode`` or else its codec's.

    A data module has its own where decoding takes more than the frame: a size rule, or the papers' oracle size.
    """
    own: Decoder | None = getattr(data, "decode", None)
    return own or (lambda frame, pair: data.codec.decode(frame, data.box(pair)))


def decoders(data: TaskData, views: int, attempts: int) -> list[Decoder]:
    """The decoder of each attempt at a query that was asked in several versions, as many times each, see ``views``."""
    plain: Any = decoder(data)
    numbers = [attempt * views // attempts for attempt in range(attempts)]
    return [functools.partial(plain, view=view) if view else plain for view in numbers]


def joiner(data: TaskData) -> Join:
    """What makes answers of the attempts at a query: one of all where each says a part of it, see ``data.passes``."""
    own: Join | None = getattr(data, "join", None)
    return own or list


def count_passes(data: TaskData) -> int:
    """Frames that one answer is made of: as many as there are passes."""
    return len(getattr(data, "passes", (data,)))


def drawings(data: TaskData, pair: Pair) -> list[NDArray[np.uint8]]:
    """The truth as the model is to draw it: (H, W, 3), one frame, or one for each pass."""
    own: Callable[[Pair], list[NDArray[np.uint8]]] | None = getattr(data, "drawings", None)
    return own(pair) if own else [data.codec.encode(pair.target, data.box(pair))]


def mean_drawings(data: TaskData) -> list[NDArray[np.uint8]]:
    """The mean of what the model is trained to draw: one frame, or one for each pass."""
    own: Callable[[], list[NDArray[np.uint8]]] | None = getattr(data, "mean_drawings", None)
    return own() if own else [data.mean_target()]


def last_frames(clips: Tensor | None) -> list[NDArray[np.float32] | None]:
    """The last frame (H, W, 3) in [0, 255] of K attempts; ``None`` for one whose clip holds a non-finite value.

    What scores, saves or shows an attempt asks here, so that none of them takes NaN for a picture.

    Args:
        clips: (K, F', 3, H, W) in [-1, 1]; ``None`` if there is no prediction.
    """
    if clips is None:
        return []
    return [to_image(clip[-1]) if is_finite(clip) else None for clip in clips.detach().float().cpu()]


def score_clips(
    metric: TaskMetric, decode: Decoder | Sequence[Decoder], clips: Tensor | None, pair: Pair, join: Join = list
) -> dict[str, Any]:
    """Decode the last frame of K attempts and compare them with the truth.

    An attempt that holds a non-finite value is no attempt. Whatever happens, the sample gets a record: without a usable
    attempt, or if decoding fails, it counts as a failure and ``failure`` says why.

    Args:
        metric: measures.
        decode: reads a label from a frame; one for each attempt, or one for all.
        clips: (K, F', 3, H, W) in [-1, 1]; ``None`` if there is no prediction.
        pair: input and truth.
        join: makes answers of attempts, see ``joiner``.
    """
    frames = last_frames(clips)
    each = decode if isinstance(decode, Sequence) else [decode] * len(frames)
    failure = NOT_FINITE if any(frame is None for frame in frames) else None
    attempts: list[Decoded[Any]] = []
    try:
        attempts = join([read(frame, pair) for read, frame in zip(each, frames, strict=True) if frame is not None])
        measured = metric.measure(attempts, pair)
    except Exception as error:
        failure, attempts = f"{type(error).__name__}: {error}", []
        measured = metric.measure(attempts, pair)
    return {
        "key": pair.key,
        "attempts": len(attempts),
        "confidence": [attempt.confidence for attempt in attempts],
        "details": [dict(attempt.details) for attempt in attempts],
        **measured,
        "failure": failure or measured.get("failure"),
    }


def run_folder(trainer: Trainer) -> Path:
    """Folder of this run, the same on every rank. To be called on all ranks: ``log_dir`` is broadcast."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def gather(item: Any) -> list[Any]:
    """The item of every rank, on every rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return [item]
    items: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(items, item)
    return items


def tasks_of(trainer: Trainer) -> Mapping[str, TaskData]:
    """The tasks of a trainer's data module by their name in batches: "" where there is only one.

    Raises:
        TypeError: if it runs on bare data loaders.
    """
    data = getattr(trainer, "datamodule", None)
    if data is None:
        raise TypeError("scoring needs a data module with codec and metric; pass datamodule= instead of dataloaders=")
    tasks: Mapping[str, TaskData] = getattr(data, "tasks", {"": data})
    return tasks


def still_clip(frames: Sequence[NDArray[np.uint8]], num_frames: int) -> Tensor:
    """(H, W, 3) images → (B, F, 3, H, W) clips in [-1, 1] in which nothing moves."""
    batch = torch.stack([to_frame(frame) for frame in frames])
    return batch.unsqueeze(1).repeat(1, num_frames, 1, 1, 1)
