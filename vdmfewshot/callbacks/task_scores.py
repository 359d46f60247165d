"""The evaluation of one task: its records while it runs, and what is published of it at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image
from torch import Tensor

from vdmfewshot.callbacks.evaluation import TaskData, decoders, gather, joiner, last_frames, score_clips
from vdmfewshot.callbacks.references import BASELINES, CEILING, References
from vdmfewshot.clips.clip import ClipBatch, Pair
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.records import (
    MANIFEST,
    Record,
    RecordWriter,
    complete,
    merge,
    publish,
    read_records,
    recompute,
    summarize,
    to_json,
    write_atomically,
)
from vdmfewshot.storage.documents import parse_json
from vdmfewshot.storage.errors import storage_error


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation has found, over all ranks.

    Attributes:
        records: one per sample that was predicted.
        manifest: one failure per sample that was expected.
        references: records of the ceiling and the baselines by name.
    """

    records: list[Record]
    manifest: list[Record]
    references: dict[str, list[Record]]

    @staticmethod
    def pool(parts: Mapping[str, Evaluated]) -> Evaluated:
        """All samples of several tasks as those of one, with the task's name in front of their keys."""

        def rows(pick: Mapping[str, list[Record]]) -> list[Record]:
            return [{**row, "key": f"{name}/{row['key']}"} for name, part in pick.items() for row in part]

        names = {reference for part in parts.values() for reference in part.references}
        return Evaluated(
            rows({name: part.records for name, part in parts.items()}),
            rows({name: part.manifest for name, part in parts.items()}),
            {ref: rows({name: part.references.get(ref, []) for name, part in parts.items()}) for ref in sorted(names)},
        )

    @classmethod
    def read(cls, folder: Path) -> Evaluated:
        """What ``publish`` wrote.

        Raises:
            FileNotFoundError: if it wrote nothing.
            ValueError: if a line is not JSON, naming file and line.
        """
        references = {name: folder / f"{name}.jsonl" for name in (CEILING, *BASELINES)}
        known = {name: read_records(file) for name, file in references.items() if file.is_file()}
        return cls(read_records(folder), read_records(folder / MANIFEST), known)

    def rows(self, metric: TaskMetric, seconds: float) -> dict[str, dict[str, Any]]:
        """The ``scores`` of ``scores.json``, from records alone.

        Args:
            metric: of the data set.
            seconds: that the evaluation took.

        Returns:
            by score: ``score``, ``low``, ``high``, ``n``, ``n_expected``, the score of each reference, ``seconds``.
        """
        others = {name: recompute(reference, metric) for name, reference in self.references.items()}
        return {
            name: {**asdict(score), **{other: scores[name] for other, scores in others.items()}, "seconds": seconds}
            for name, score in summarize(self.records, metric, self.manifest).items()
        }

    def samples(self, metric: TaskMetric) -> list[dict[str, Any]]:
        """One row per expected sample, for people: ``key``, ``score`` (the main one), ``confidence``, ``failure``."""
        return [
            {
                "key": record["key"],
                "score": recompute([record], metric)[metric.main],
                "confidence": next(iter(record.get("confidence", [])), None),
                "failure": record["failure"],
            }
            for record in complete(self.records, self.manifest)
        ]

    def publish(self, folder: Path, head: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Write all records and ``scores.json``, which is ``head`` with the scores."""
        for name, reference in self.references.items():
            publish(folder, reference, f"{name}.jsonl")
        publish(folder, self.manifest, MANIFEST)
        publish(folder, self.records)
        content = parse_json(to_json({**head, "scores": rows}))
        write_atomically(folder / "scores.json", json.dumps(content, indent=2) + "\n")


class TaskScores:
    """Scores the samples of one task as they come and keeps one record of each, on disk too.

    Args:
        data: the task.
        references: ceiling and baselines of its queries, measured once for all evaluations.
        folder: of the evaluation.
        rank: of this process.
    """

    def __init__(self, data: TaskData, references: References, folder: Path, rank: int) -> None:
        self.data = data
        self.references = references
        self.folder = folder
        self._writer = RecordWriter(folder, rank)
        self._failures: dict[str, Record] = {}

    def add(self, batch: ClipBatch, backbone: Any, save_images: bool) -> None:
        """Score a batch, whose ``generated`` may be missing, and measure its references."""
        metric = self.data.make_metric()
        for i, pair in enumerate(batch.pairs):
            if pair.target is None or pair.key in self._failures:
                continue
            self._failures[pair.key] = {"key": pair.key, "attempts": 0, **metric.measure([], pair)}
            clips = None if batch.generated is None else batch.generated[i]
            readers = decoders(self.data, batch.views, 0 if clips is None else len(clips))
            self._writer.append(score_clips(metric, readers, clips, pair, joiner(self.data)))
            if save_images and clips is not None:
                self._save_frames(pair, clips)
        self.references.add(batch, self.data, backbone, metric)

    def finish(self) -> Evaluated:
        """Close the records and gather those of all ranks. To be called on all ranks."""
        self._writer.close()
        records, manifest = (merge(gather(list(part.values()))) for part in (self._writer.records, self._failures))
        return Evaluated(records, manifest, self.references.gathered())

    def _save_frames(self, pair: Pair, clips: Tensor) -> None:
        folder = self.folder / "frames"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for attempt, frame in enumerate(last_frames(clips)):
                if frame is not None:
                    Image.fromarray(np.rint(frame).astype(np.uint8)).save(folder / f"{pair.key}_{attempt}.png")
        except OSError as error:
            rank_zero_warn(f"last frames are not saved: {storage_error(error) or error}")


def warn_of_failures(stage: str, records: Sequence[Record]) -> None:
    """Say how many samples count as failures and why the first does."""
    failed = [record for record in records if record["attempts"] == 0]
    if failed:
        first = failed[0]
        rank_zero_warn(
            f"{stage}: {len(failed)} of {len(records)} samples have no usable prediction and count as failures; "
            f"the first is {first['key']}: {first['failure']}"
        )
