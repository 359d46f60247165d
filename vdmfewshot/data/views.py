"""Queries asked in several versions: what the model needs of data modules that have some."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vdmfewshot.clips.clip import ClipBatch, to_frame
from vdmfewshot.codecs.mask import MaskCodec

#: versions of a query whose answer is a mask: the picture and its mirror image
MIRRORED = 2


def check(data: Any, views: int) -> None:
    """Refuse more versions than there are.

    Args:
        data: a data module or a stack of them.
        views: versions of each query that are to be asked.

    Raises:
        ValueError: naming the task and how many it has.
    """
    if views == 1:
        return
    masks = [_draws_masks(task) for task in _tasks(data)]
    if any(masks) and not all(masks):
        raise ValueError(f"sampling.views must be 1 for a stack of masks and other tasks, got {views}")
    for task in _tasks(data):
        most = MIRRORED if all(masks) else getattr(task, "max_views", 1)
        if views > most:
            reason = "only ARC tasks and masks can be asked in several versions" if most == 1 else f"there are {most}"
            raise ValueError(f"sampling.views must be at most {most} for {task.task_name}, got {views}: {reason}")


def _tasks(data: Any) -> list[Any]:
    return list(getattr(data, "tasks", {"": data}).values())


def _draws_masks(task: Any) -> bool:
    return isinstance(getattr(task, "codec", None), MaskCodec)


def first_frames(data: Any, batch: ClipBatch, views: int) -> Tensor:
    """(B views, 3, H, W) first frames of all versions, those of a query together, the query itself first."""
    if views == 1:
        return batch.first_frame
    if _draws_masks(_tasks(data)[0]):
        return torch.stack([batch.first_frame, batch.first_frame.flip(-1)], 1).flatten(0, 1)
    tasks = getattr(data, "tasks", {"": data})
    frames = []
    for own, pair, name in zip(batch.first_frame, batch.pairs, batch.tasks, strict=True):
        others = [to_frame(tasks[name].view(pair, view)) for view in range(1, views)]
        frames += [own, *(frame.to(own) for frame in others)]
    return torch.stack(frames)


def merged(data: Any, batch: ClipBatch) -> ClipBatch:
    """The batch as it is scored: of masks, the mean of both versions' frames, turned back, is one answer.

    Args:
        data: a data module or a stack of them.
        batch: with all versions generated, those at the query itself first.
    """
    if batch.views == 1 or batch.generated is None or batch.latents is None or not _draws_masks(_tasks(data)[0]):
        return batch
    own, other = batch.generated.chunk(MIRRORED, 1)
    return replace(batch, generated=(own + other.flip(-1)) / 2, latents=batch.latents[:, : own.shape[1]], views=1)
