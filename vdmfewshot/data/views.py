"""Queries asked in several versions: what the model needs of data modules that have some."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vdmfewshot.clips.clip import ClipBatch, to_frame


def check(data: Any, views: int) -> None:
    """Refuse more versions than there are.

    Args:
        data: a data module or a stack of them.
        views: versions of each query that are to be asked.

    Raises:
        ValueError: naming the task and how many it has.
    """
    for task in getattr(data, "tasks", {"": data}).values() if views > 1 else ():
        most = getattr(task, "max_views", 1)
        if views > most:
            reason = "only ARC tasks can be asked in several versions" if most == 1 else f"there are {most} versions"
            raise ValueError(f"sampling.views must be at most {most} for {task.task_name}, got {views}: {reason}")


def first_frames(data: Any, batch: ClipBatch, views: int) -> Tensor:
    """(B views, 3, H, W) first frames of all versions, those of a query together, the query itself first."""
    if views == 1:
        return batch.first_frame
    tasks = getattr(data, "tasks", {"": data})
    frames = []
    for own, pair, name in zip(batch.first_frame, batch.pairs, batch.tasks, strict=True):
        others = [to_frame(tasks[name].view(pair, view)) for view in range(1, views)]
        frames += [own, *(frame.to(own) for frame in others)]
    return torch.stack(frames)
