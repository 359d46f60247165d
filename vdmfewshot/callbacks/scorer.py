"""Scores every generated sample and says what the score is worth."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from vdmfewshot.callbacks.evaluation import run_folder, tasks_of
from vdmfewshot.callbacks.mirror import PICTURE, is_rich, log_table
from vdmfewshot.callbacks.passes import Joiner, passes_of
from vdmfewshot.callbacks.references import BASELINES, CEILING, References
from vdmfewshot.callbacks.table import score_table
from vdmfewshot.callbacks.task_scores import Evaluated, TaskScores, warn_of_failures
from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.records import SAMPLES, publish, read_records

Stage = Literal["val", "test"]
Rows = dict[str, dict[str, Any]]


class Scorer(Callback):
    """Decodes the last frame of every attempt, measures it, writes records and logs scores with their intervals.

    Logged, per score of the data module's metric: ``val/<name>``, ``val/<name>_low`` and ``val/<name>_high`` (95 %),
    and once ``val/n``, ``val/ceiling/<main>``, ``val/copy_input/<main>`` and ``val/mean_target/<main>``; ``test/...``
    likewise. On disk, in ``<run>/scores/{val,test}/step=N``: ``records.jsonl`` (one record per sample),
    ``manifest.jsonl`` (what each sample counts as if its record is lost), ``samples.jsonl`` (key, main score,
    confidence and failure of each, for people and reports), ``scores.json`` (``task``, ``main``,
    ``step``, ``fit_seconds`` of this process and ``scores`` by name) and the lossless last frames. For a stack of tasks
    each of them has such a folder of its own below, ``step=N/<task>``; what is logged, and in ``step=N`` itself, is
    over all samples of all tasks; of passes over one picture, over what they say together.

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
        self._references: dict[Stage, dict[str, References]] = {}
        self._tasks: dict[str, TaskScores] = {}
        self._merged: TaskScores | None = None
        self._folder = Path()
        self._started = 0.0
        self._fit_started = self._fit_seconds = 0.0
        self._table: Any = None
        self._scored: list[str] = []

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
        self._score(pl_module, outputs, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Score the batch."""
        self._score(pl_module, outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish records and scores."""
        self._finish("val", trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish records and scores."""
        self._finish("test", trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send the table of samples, when other callbacks have drawn their pictures."""
        self._send("val", trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send the table of samples; show the scores on rank 0, below Lightning's own output."""
        self._send("test", trainer)
        if self.show and trainer.is_global_zero and self._table is not None:
            Console().print(self._table)

    def _start(self, stage: Stage, trainer: Trainer) -> None:
        self._folder = run_folder(trainer) / "scores" / stage / f"step={trainer.global_step}"
        if trainer.sanity_checking:
            return
        self._started = time.perf_counter()
        tasks = tasks_of(trainer)
        names = (CEILING,) * self.ceiling + BASELINES * self.baselines
        passes = passes_of(trainer)
        known = self._references.setdefault(stage, {name: References(names) for name in ("", *tasks)})
        self._tasks = {
            name: TaskScores(data, known[name], self._folder / name, trainer.global_rank)
            for name, data in tasks.items()
        }
        self._joiner = Joiner(trainer)
        if passes is not None:
            self._merged = TaskScores(passes.merged, known[""], self._folder, trainer.global_rank)

    def _score(self, module: LightningModule, outputs: Any, batch: ClipBatch) -> None:
        if not self._tasks:
            return
        views = getattr(outputs, "views", 1)
        batch = replace(batch, generated=getattr(outputs, "generated", None), views=views)
        for name, part in batch.by_task().items():
            self._tasks[name].add(part, module.backbone, self.save_images)
        if self._merged is not None:
            for part in self._joiner.parts(batch).values():
                self._merged.add(part, module.backbone, save_images=False)  # the passes have saved them

    def _finish(self, stage: Stage, trainer: Trainer, module: LightningModule) -> None:
        if not self._tasks:
            return
        tasks, self._tasks = self._tasks, {}
        merged, self._merged = self._merged, None
        # All ranks have closed their files before the gathering, so these may then be replaced by one.
        found = {name: scores.finish() for name, scores in tasks.items()}
        seconds = time.perf_counter() - self._started
        for name, part in found.items():
            if name and part.manifest:
                task = tasks[name].data
                self._publish(trainer, self._folder / name, task.task_name, task.make_metric(), part, seconds)
        whole = merged.finish() if merged else found[""] if "" in found else Evaluated.pool(found)
        title: str = trainer.datamodule.task_name  # type: ignore[attr-defined]  # set while it runs
        metric = (merged or next(iter(tasks.values()))).data.make_metric()
        rows = self._publish(trainer, self._folder, title, metric, whole, seconds)
        self._log(stage, module, rows, metric.main)
        self._scored = [name for name, part in found.items() if part.manifest]
        if trainer.is_global_zero:
            warn_of_failures(stage, whole.records)
        if stage == "test":
            self._table = score_table(f"{title}, step {trainer.global_step}", rows, metric.main)

    def _send(self, stage: Stage, trainer: Trainer) -> None:
        scored, self._scored = self._scored, []
        if trainer.is_global_zero and any(map(is_rich, trainer.loggers)):
            pictures = self._folder.parents[2] / "pictures" / stage
            rows = [
                {**row, "key": f"{name}/{row['key']}".lstrip("/"), PICTURE: file if file.is_file() else None}
                for name in scored
                for row in read_records(self._folder / name / SAMPLES)
                for file in (pictures / name / self._folder.name / f"{row['key']}.png",)
            ]
            log_table(trainer.loggers, f"samples/{stage}", rows, trainer.global_step)

    def _publish(
        self, trainer: Trainer, folder: Path, task: str, metric: TaskMetric, found: Evaluated, seconds: float
    ) -> Rows:
        """Scores of what was found, written by rank 0."""
        rows = found.rows(metric, seconds)
        if trainer.is_global_zero:
            head = {"task": task, "main": metric.main, "step": trainer.global_step, "fit_seconds": self._fit_seconds}
            found.publish(folder, head, rows)
            publish(folder, found.samples(metric), SAMPLES)
        return rows

    def _log(self, stage: Stage, module: LightningModule, rows: Rows, main: str) -> None:
        values: dict[str, float] = {}
        for name, row in rows.items():
            values |= {name: row["score"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
        values["n"] = rows[main]["n"]
        values |= {f"{ref}/{main}": rows[main][ref] for ref in (CEILING, *BASELINES) if ref in rows[main]}
        for name, value in values.items():
            # Every rank logs the same number; reducing it says so to Lightning.
            module.log(f"{stage}/{name}", float(value), on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
