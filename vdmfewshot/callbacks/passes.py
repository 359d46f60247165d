"""Joins what the passes of a query have drawn, for callbacks that want one answer to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from lightning.pytorch import Trainer

from vdmfewshot.callbacks.evaluation import TaskData, tasks_of
from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.data.passes import AllClasses, ClassPassesDataModule


def passes_of(trainer: Trainer) -> ClassPassesDataModule | None:
    """The data module, if its queries are asked in several passes."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, ClassPassesDataModule) else None


def answering(trainer: Trainer) -> Mapping[str, TaskData]:
    """As ``tasks_of``; all passes of a query are one task."""
    data = passes_of(trainer)
    return tasks_of(trainer) if data is None else {"": data.merged}


class Joiner:
    """Keeps the clips of a query until the last of its passes has come, which may be in another batch.

    Args:
        trainer: that runs the data.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.data = passes_of(trainer)
        self._waiting: dict[str, dict[str, ClipBatch]] = {}

    def parts(self, batch: ClipBatch) -> dict[str, ClipBatch]:
        """The samples of each task; with passes, the queries that are complete now, with passes as their versions."""
        if self.data is None:
            return batch.by_task()
        complete = []
        for row in map(batch.select, ([i] for i in range(len(batch)))):
            waiting = self._waiting.setdefault(row.pairs[0].key, {})
            waiting[row.tasks[0]] = row
            if len(waiting) == len(self.data.tasks):
                del self._waiting[row.pairs[0].key]
                complete.append(joined([waiting[name] for name in self.data.tasks], self.data.merged))
        return {"": concatenated(complete)} if complete else {}


def joined(rows: Sequence[ClipBatch], whole: AllClasses) -> ClipBatch:
    """The passes of one query as one sample: its truth is that of all classes, its versions are the passes."""
    first = rows[0]
    clips = [row.generated for row in rows if row.generated is not None]
    return ClipBatch(
        frames=first.frames,
        pairs=(whole.query(first.pairs[0].key),),
        ordinals=first.ordinals,
        digests=first.digests,
        # Of several attempts the first one counts, as for all label maps.
        generated=torch.cat([clip[:, :1] for clip in clips], dim=1) if len(clips) == len(rows) else None,
        views=len(rows),
    )


def concatenated(batches: Sequence[ClipBatch]) -> ClipBatch:
    """Several joined queries as one batch."""
    clips = [batch.generated for batch in batches if batch.generated is not None]
    return ClipBatch(
        frames=torch.cat([batch.frames for batch in batches]),
        pairs=tuple(pair for batch in batches for pair in batch.pairs),
        ordinals=tuple(number for batch in batches for number in batch.ordinals),
        digests=tuple(digest for batch in batches for digest in batch.digests),
        generated=torch.cat(clips) if len(clips) == len(batches) else None,
        views=batches[0].views,
    )
