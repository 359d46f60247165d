"""Scores every generated sample and says what the score is worth."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image
from rich.console import Console
from torch import Tensor

from vdmfewshot.callbacks.evaluation import decoder, gather, run_folder, score_clips, tasks_of
from vdmfewshot.callbacks.references import BASELINES, CEILING, References
from vdmfewshot.callbacks.table import score_table
from vdmfewshot.clip import ClipBatch, Pair, to_image
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.records import (
    MANIFEST,
    Record,
    RecordWriter,
    merge,
    publish,
    recompute,
    summarize,
    to_json,
    write_atomically,
)

Stage = Literal["val", "test"]


class Scorer(Callback):
    """Decodes the last frame of every attempt, measures it, writes records and logs scores with their intervals.

    Logged, per score of the data module's metric: ``val/<name>``, ``val/<name>_low`` and ``val/<name>_high`` (95 %),
    and once ``val/n``, ``val/ceiling/<main>``, ``val/copy_input/<main>`` and ``val/mean_target/<main>``; ``test/...``
    likewise. On disk, in ``<run>/scores/{val,test}/step=N``: ``records.jsonl`` (one record per sample),
    ``manifest.jsonl`` (what each sample counts as if its record is lost), ``scores.json`` (``task``, ``main``,
    ``step``, ``fit_seconds`` of this process and ``scores`` by name) and the lossless last frames.

    Every sample is in the denominator: a missing or non-finite prediction is a failure, never a gap. Duplicates that
    pad ranks to equal length are dropped by key. All ranks compute scores from all records, so they are those of one
    process, to the last bit.

    Args:
        ceiling: measure the encoding ceiling, once per data set.
        baselines: measure copy-input and mean-target, once per data set.
        save_images: keep the last frames as PNG.
        show: print the table of scores after a test.
    """

    def __init__(
        self, ceiling: bool = True, baselines: bool = True, save_images: bool = True, show: bool = True
    ) -> None:
        self.ceiling = ceiling
        self.baselines = baselines
        self.save_images = save_images
        self.show = show
        self._references: dict[Stage, References] = {}
        self._writer: RecordWriter | None = None
        self._failures: dict[str, Record] = {}
        self._folder = Path()
        self._started = 0.0
        self._fit_started = self._fit_seconds = 0.0
        self._table: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the references of an earlier run, which may have had other data."""
        self._references = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._fit_started = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock: what the adapter cost, validation included."""
        self._fit_seconds = time.perf_counter() - self._fit_started

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the records."""
        self._start("val", trainer)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the records."""
        self._start("test", trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Score the batch."""
        self._score("val", trainer, pl_module, outputs, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Score the batch."""
        self._score("test", trainer, pl_module, outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish records and scores."""
        self._finish("val", trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish records and scores."""
        self._finish("test", trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the scores on rank 0, below Lightning's own output."""
        if self.show and trainer.is_global_zero and self._table is not None:
            Console().print(self._table)

    def _start(self, stage: Stage, trainer: Trainer) -> None:
        self._folder = run_folder(trainer) / "scores" / stage / f"step={trainer.global_step}"
        if trainer.sanity_checking:
            return
        self._writer = RecordWriter(self._folder, trainer.global_rank)
        self._failures = {}
        self._started = time.perf_counter()
        names = (CEILING,) * self.ceiling + BASELINES * self.baselines
        self._references.setdefault(stage, References(names))

    def _score(self, stage: Stage, trainer: Trainer, module: LightningModule, outputs: Any, batch: ClipBatch) -> None:
        if self._writer is None:
            return
        data = tasks_of(trainer)
        metric, decode = data.make_metric(), decoder(data)
        generated: Tensor | None = getattr(outputs, "generated", None)
        for i, pair in enumerate(batch.pairs):
            if pair.target is None or pair.key in self._failures:
                continue
            self._failures[pair.key] = {"key": pair.key, "attempts": 0, **metric.measure([], pair)}
            clips = None if generated is None else generated[i]
            self._writer.append(score_clips(metric, decode, clips, pair))
            if self.save_images and clips is not None:
                self._save_frames(pair, clips)
        self._references[stage].add(batch, data, module.backbone, metric)  # type: ignore[arg-type]

    def _save_frames(self, pair: Pair, clips: Tensor) -> None:
        folder = self._folder / "frames"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for attempt, clip in enumerate(clips):
                frame = np.rint(to_image(clip[-1])).astype(np.uint8)
                Image.fromarray(frame).save(folder / f"{pair.key}_{attempt}.png")
        except OSError as error:
            rank_zero_warn(f"last frames are not saved: {error}")

    def _finish(self, stage: Stage, trainer: Trainer, module: LightningModule) -> None:
        if self._writer is None:
            return
        self._writer.close()
        data = tasks_of(trainer)
        metric = data.make_metric()
        records, manifest = (merge(gather(list(part.values()))) for part in (self._writer.records, self._failures))
        references = self._references[stage].gathered()
        seconds = time.perf_counter() - self._started
        rows = score_rows(metric, records, manifest, references, seconds)
        self._writer = None
        self._log(stage, module, rows, metric.main)
        if trainer.is_global_zero:
            # All ranks have closed their files before the gathering, so these may now be replaced by one.
            for name, reference in references.items():
                publish(self._folder, reference, f"{name}.jsonl")
            publish(self._folder, manifest, MANIFEST)
            publish(self._folder, records)
            content = {
                "task": data.task_name,
                "main": metric.main,
                "step": trainer.global_step,
                "fit_seconds": self._fit_seconds,
                "scores": rows,
            }
            write_atomically(self._folder / "scores.json", json.dumps(json.loads(to_json(content)), indent=2) + "\n")
            self._warn_of_failures(stage, records)
        if stage == "test":
            self._table = score_table(f"{data.task_name}, step {trainer.global_step}", rows, metric.main)

    def _log(self, stage: Stage, module: LightningModule, rows: dict[str, dict[str, Any]], main: str) -> None:
        values: dict[str, float] = {}
        for name, row in rows.items():
            values |= {name: row["score"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
        values["n"] = rows[main]["n"]
        values |= {f"{ref}/{main}": rows[main][ref] for ref in (CEILING, *BASELINES) if ref in rows[main]}
        for name, value in values.items():
            # Every rank logs the same number; reducing it says so to Lightning.
            module.log(f"{stage}/{name}", float(value), on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def _warn_of_failures(self, stage: Stage, records: list[Record]) -> None:
        failed = [record for record in records if record["attempts"] == 0]
        if failed:
            first = failed[0]
            rank_zero_warn(
                f"{stage}: {len(failed)} of {len(records)} samples have no usable prediction and count as failures; "
                f"the first is {first['key']}: {first['failure']}"
            )


def score_rows(
    metric: TaskMetric,
    records: Sequence[Record],
    manifest: Sequence[Record],
    references: Mapping[str, Sequence[Record]],
    seconds: float,
) -> dict[str, dict[str, Any]]:
    """The ``scores`` of ``scores.json``, from records alone.

    Args:
        metric: of the data set.
        records: one per sample that was predicted.
        manifest: one failure per sample that was expected.
        references: records of the ceiling and the baselines by name.
        seconds: that the evaluation took.

    Returns:
        by score: ``score``, ``low``, ``high``, ``n``, ``n_expected``, the score of each reference, ``seconds``.
    """
    others = {name: recompute(reference, metric) for name, reference in references.items()}
    return {
        name: {**asdict(score), **{other: scores[name] for other, scores in others.items()}, "seconds": seconds}
        for name, score in summarize(records, metric, manifest).items()
    }
