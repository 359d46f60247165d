"""What a fleet will do: the configuration resolved and named by content, every task read, nothing trained."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vdmfewshot import __version__
from vdmfewshot.cli.command import FewShotCLI
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import DataError, picture_digest
from vdmfewshot.data.stack import ListedDataModule, check_names
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.records import Record, to_json

#: of a configuration, what no score depends on: which tasks there are, where things lie, what is shown and kept
SILENT = (
    *("name", "config", "data.init_args.tasks", "model.init_args.cache_dir", "trainer.default_root_dir"),
    *("trainer.logger", "trainer.callbacks", "trainer.log_every_n_steps", "trainer.profiler", "trainer.devices"),
    *("trainer.enable_progress_bar", "trainer.enable_checkpointing", "trainer.enable_model_summary"),
)
SILENT_CALLBACKS = (
    *("Progress", "CostReport", "EncodeAhead", "Visuals", "Predictions", "AdapterExport", "ModelCheckpoint"),
)
#: of the other callbacks
SILENT_OPTIONS = ("save_images", "show")


class ResolvedCLI(FewShotCLI):
    """An ``adapt`` command line, checked and instantiated, that runs nothing.

    Attributes:
        text: the configuration, defaults included, without tasks, before what is chosen for this machine.
    """

    text: str

    def before_instantiate_classes(self) -> None:
        """Keep the configuration as the user has it."""
        config = self._sub.clone()
        config.pop("data.init_args.tasks", None)
        self.text = self._parser("adapt").dump(config, skip_none=False)
        super().before_instantiate_classes()

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing."""

    @property
    def folder(self) -> Path:
        """``runs/<name>``."""
        return Path(self._sub.trainer.default_root_dir or "runs") / self._name()

    def key(self) -> str:
        """Name of the configuration by content: version, everything that scores depend on, and the weights."""
        config = self._sub.clone(with_meta=False)
        callbacks = [c.as_dict() for c in config.trainer.callbacks]
        for name in SILENT:
            config.pop(name, None)
        loud = [c for c in callbacks if c["class_path"].rpartition(".")[2] not in SILENT_CALLBACKS]
        for callback in loud:
            for name in SILENT_OPTIONS:
                callback.get("init_args", {}).pop(name, None)
        return hashed(__version__, config.as_dict(), loud, self.model.backbone.checkpoint.digest())


@dataclass(frozen=True)
class Job:
    """A task of the fleet.

    Attributes:
        id: in the configuration.
        name: in folders and tables.
        file: where it says which folder holds its scores; named after the content of the task.
        manifest: what every query counts as without scores.
        problem: why the task cannot be read; empty if it can.
    """

    id: str
    name: str
    file: Path
    manifest: list[Record]
    problem: str = ""

    @property
    def failure(self) -> Path:
        """File that says why the last attempt failed."""
        return self.file.with_suffix(".failed.txt")

    def result(self) -> dict[str, Any] | None:
        """``scores`` (a folder) and the task's share of seconds; ``None`` if there is none, or its scores are gone."""
        if not self.file.is_file():
            return None
        result: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        result["scores"] = self.file.parent / result["scores"]
        return result if (result["scores"] / "scores.json").is_file() else None


@dataclass(frozen=True)
class Fleet:
    """All tasks with one configuration.

    Attributes:
        folder: ``runs/<name>``, where ``fleet.json`` goes.
        home: ``runs/<name>/<key of the configuration>``, where everything else is.
        jobs: the tasks.
        metric: of all of them.
    """

    folder: Path
    home: Path
    jobs: list[Job]
    metric: TaskMetric

    def results(self) -> dict[str, dict[str, Any]]:
        """Results of the tasks that have one, by name."""
        return {job.name: result for job in self.jobs if (result := job.result()) is not None}


def plan(cli: ResolvedCLI) -> Fleet:
    """Read and check the data of all tasks. It reads no weights.

    Raises:
        ValueError: if these data are no list of tasks, this is no single device, or a checkpoint is to be continued.
        DataError: if no task can be read.
    """
    data = cli.datamodule
    if not isinstance(data, ListedDataModule):
        raise ValueError(
            f"fleet needs data that list tasks by id, got {type(data).__name__}; use ArcStackDataModule, or adapt"
        )
    if cli.trainer.world_size > 1:
        raise ValueError(
            f"a fleet runs on one device, got {cli.trainer.world_size}; set --trainer.devices=1 (or '[1]' for the "
            "second) and start one fleet per device, each with tasks of its own, then --report_only over all tasks"
        )
    if cli.config["adapt"].get("ckpt_path"):
        raise ValueError("a fleet starts every task afresh and cannot continue a checkpoint; leave --ckpt_path out")
    members = [data.make_task(task) for task in data.ids]
    check_names(members)
    home = cli.folder / cli.key()
    jobs = [read_job(task, member, home) for task, member in zip(data.ids, members, strict=True)]
    known = [(job, member) for job, member in zip(jobs, members, strict=True) if not job.problem]
    if not known:
        raise DataError([f"{job.id}: {job.problem}" for job in jobs])
    first, member = known[0]
    cli.model.backbone.check_clip(*member.clip_shape)
    jobs = [stand_in(job, first) if job.problem else job for job in jobs]
    return Fleet(cli.folder, home, jobs, member.make_metric())


def read_job(task: str, data: FewShotDataModule, home: Path) -> Job:
    """Read a task, name it by content, and note what its queries count as if they are not answered."""
    try:
        data.setup()
        if not data.queries("test"):
            raise ValueError("there is nothing to score")
    except ValueError as error:
        return Job(task, data.task_name, home / "tasks" / f"{data.task_name}.json", [], str(error))
    metric, pairs = data.make_metric(), [*data.support, *data.queries("test")]
    content = hashed(data.codec.spec_hash, [(pair.key, picture_digest(pair), to_json(pair.target)) for pair in pairs])
    manifest = [{"key": pair.key, "attempts": 0, **metric.measure([], pair)} for pair in data.queries("test")]
    return Job(task, data.task_name, home / "tasks" / f"{data.task_name}-{content}.json", manifest)


def stand_in(job: Job, other: Job) -> Job:
    """A task that cannot be read counts as one failed query, for which one of another task stands in."""
    failed = {**other.manifest[0], "key": "unreadable", "task": job.id, "failure": job.problem}
    return Job(job.id, job.name, job.file, [failed], job.problem)


def hashed(*values: Any) -> str:
    """12 hex digits of the SHA-256 of anything that JSON, or else ``str``, can say."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
