"""Plans studies: every point resolved and checked by the command line, every task read, nothing trained."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vdmfewshot import __version__
from vdmfewshot.cli.arguments import Argument
from vdmfewshot.cli.command import make_cli
from vdmfewshot.cli.errors import PACKAGE
from vdmfewshot.cli.fragments import included
from vdmfewshot.cli.fragments import resolve as resolve_name
from vdmfewshot.cli.resolved import ResolvedCLI, resolve
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import DataError, picture_digest
from vdmfewshot.data.stack import ListedDataModule
from vdmfewshot.metrics.records import to_json
from vdmfewshot.storage.atomic import replacing
from vdmfewshot.storage.documents import parse_json
from vdmfewshot.storage.limited_yaml import parse_yaml
from vdmfewshot.studies.settings import Point, Study
from vdmfewshot.studies.tasks import TaskList, accepted, read_tasks
from vdmfewshot.studies.units import SCHEMA, Manifest, Unit, hashed, signatures

#: short names of axes
SHORT = {
    "model": "model",
    "seed": "seed_everything",
    "steps": "trainer.max_steps",
    "rank": "model.init_args.lora.rank",
    "lr": "model.init_args.optimizer.init_args.lr",
}


@dataclass(frozen=True)
class ReadTask:
    """What a unit needs to know of its task.

    Attributes:
        content: name of pictures and labels, support set and queries.
        shared: what all tasks of a stack must share.
        main: name of the main score.
        pixels: of all frames of a training clip.
        expected: a failed record of every query.
        problem: why it cannot be read.
    """

    content: str = ""
    shared: Sequence[Any] = ()
    main: str = ""
    pixels: int = 1
    expected: Sequence[Mapping[str, Any]] = ()
    problem: str = ""


class CommandLinePlanner:
    """The planner of ``vdmfewshot study``, see ``vdmfewshot.studies.work.Planner``.

    Args:
        listed: refuse data that do not list tasks.
    """

    def __init__(self, listed: bool = False) -> None:
        self.listed = listed
        self._read: dict[str, ReadTask] = {}

    def plan(self, study: Study) -> Manifest:
        """Resolve every point, read every task and write the configurations; no weights are read.

        Raises:
            ValueError: for what cannot be a study.
            DataError: if no task can be read.
        """
        units: list[Unit] = []
        inputs: list[Path] = [path for base in bases(study) for path in configs_of(Path(base))]
        for point in study.grid():
            cli = resolve(arguments(study, point))
            refuse(cli, self.listed)
            share(cli, study.executor.devices_per_unit)
            tasks = read_tasks(study.tasks, type(cli.datamodule), cli.options)
            folder = cli.model.backbone.checkpoint.folder
            inputs += [*tasks.inputs, *([folder] if folder else [])]
            units += self._units(study, point, cli, tasks)
        problems = [f"{unit.label}: {unit.problem}" for unit in units if unit.problem]
        if len(problems) == len(units):
            raise DataError(problems)
        units = [stand_in(unit, units) if unit.problem else unit for unit in units]
        return Manifest(units, study.digest(), signatures(inputs))

    def show(self, study: Study) -> None:
        """Print the configuration of the first point, and end the process."""
        make_cli(["adapt", *arguments(study, next(study.grid())), "--print_config"], ResolvedCLI)

    def _units(self, study: Study, point: Point, cli: ResolvedCLI, tasks: TaskList) -> Iterator[Unit]:
        first = next(iter(tasks.values.values()), None)
        text = cli.text(tasks.kind, tasks.options | ({tasks.key: first} if tasks.key else {}))
        setting = cli.key()
        config = hashed(text)
        with replacing(study.folder / "configs" / f"{config}.yaml") as file:
            file.write_text(text, encoding="utf-8")
        places = {tasks.key, "root", "source", "split", "images", "annotations", "num_workers"}
        rest = {k: v for k, v in tasks.options.items() if k not in places}
        shown = {axis: value for axis, value in point.items() if axis != "tasks"}
        checked = False
        for name, value in tasks.values.items() if tasks.key else [("", None)]:
            data = {tasks.key: value} if tasks.key else {}
            found = self._task(tasks.kind, tasks.options | data)
            if not checked and not found.problem:
                cli.model.backbone.check_clip(*found.shared[0])
                checked = True
            task = name or make(tasks.kind, tasks.options).task_name
            unit = hashed(SCHEMA, __version__, setting, tasks.kind.__qualname__, rest, task, found.content)
            group = hashed(config if not cli.stackable else setting, found.shared) if cli.stackable else ""
            cost = found.pixels * work_of(cli, tasks.options, len(found.expected))
            yield Unit(unit, task, shown, config, data, group, found.main, cost, found.expected, found.problem)

    def _task(self, kind: type[Any], options: Mapping[str, Any]) -> ReadTask:
        key = hashed(kind.__qualname__, options)
        if key not in self._read:
            self._read[key] = read_task(kind, options)
        return self._read[key]


def arguments(study: Study, point: Point) -> list[str]:
    """A point as a command line after ``adapt``."""
    args = [arg for base in bases(study) for arg in ("-c", base)]
    for key, value in [*study.set.items(), *study.options(point).items()]:
        name = SHORT.get(key, key)
        if name == "model":
            args.append(f"--model={fragment(str(value), study)}")
        else:
            name = name if "." in name or name in SHORT.values() else f"data.init_args.{name}"
            args.append(f"--{name}={value if isinstance(value, str) else json.dumps(value)}")
    one = ["--trainer.devices=1"] if study.executor.devices_per_unit > 1 else []
    return [*args, *study.args, *one]


def bases(study: Study) -> list[str]:
    """Configuration files; ``nuclei`` is one of those that ship with us, as it is for ``adapt -c``."""
    return [str(resolve_name(Argument("config", base, ("base:", base))).value) for base in study.base]


def fragment(name: str, study: Study) -> str:
    """``embedded`` → the file ``model/embedded.yaml`` beside a base, or among the experiments that ship with us."""
    folders = [*(Path(base).parent for base in bases(study)), PACKAGE / "experiments", PACKAGE.parent / "experiments"]
    files = [folder / "model" / f"{name}.yaml" for folder in folders]
    return next((str(file) for file in files if file.is_file()), name)


def configs_of(file: Path) -> Iterator[Path]:
    """A configuration file and the files that it names."""
    if not file.is_file():
        return
    yield file
    text = file.read_text(encoding="utf-8")
    content = parse_yaml(text)
    for key, value in content.items() if isinstance(content, dict) else []:
        if found := included(str(key), value, file.parent):
            yield from configs_of(found)


def refuse(cli: ResolvedCLI, listed: bool) -> None:
    """What cannot be a unit; with ``listed``, what lists no tasks.

    Raises:
        ValueError: naming rule, value and remedy.
    """
    if listed and not isinstance(cli.datamodule, ListedDataModule):
        name = type(cli.datamodule).__name__
        raise ValueError(f"fleet needs data that list tasks by id, got {name}; use ArcStackDataModule, or adapt")
    if cli.config["adapt"].get("ckpt_path"):
        raise ValueError("a study starts every unit afresh and cannot continue a checkpoint; leave ckpt_path out")
    if cli.trainer.world_size > 1:
        raise ValueError(
            f"a study does not take trainer.devices and trainer.num_nodes, got {cli.trainer.world_size} devices; set "
            "both to 1: executor.workers says how many units run at once, executor.devices_per_unit on what each runs"
        )


def share(cli: ResolvedCLI, devices: int, batch: int | None = None) -> tuple[int, int]:
    """How devices share the batches of a unit, so that together they train on what one would.

    Args:
        cli: of the unit.
        devices: of a unit.
        batch: samples of a micro-batch on one device; of the configuration if not given.

    Returns:
        samples of a micro-batch on each device, and how many of them it adds up to a step.

    Raises:
        ValueError: if they cannot be shared out evenly.
    """
    batch = batch or int(cli.options.get("batch_size", 1))
    accumulated = int(cli.chosen.trainer.accumulate_grad_batches or 1)
    common = math.gcd(batch, devices)
    if accumulated * common % devices:
        raise ValueError(
            "executor.devices_per_unit must divide batch_size x trainer.accumulate_grad_batches, because the devices "
            f"of a unit share its batches; got {devices} for {batch} x {accumulated}"
        )
    return batch // common, accumulated * common // devices


def make(kind: type[Any], options: Mapping[str, Any]) -> FewShotDataModule:
    """A data module of those options that it knows; of the one task of a list, that task's."""
    if issubclass(kind, ListedDataModule):
        (task,) = options["tasks"]
        return kind(**options).make_task(task)
    known = accepted(kind)
    data: FewShotDataModule = kind(**{name: value for name, value in options.items() if name in known})
    return data


def read_task(kind: type[Any], options: Mapping[str, Any]) -> ReadTask:
    """Read a task, name it by content, and note what its queries count as if they are not answered."""
    try:
        data = make(kind, options)
        data.setup()
        queries = list(data.queries("test"))
        if not queries:
            raise ValueError("there is nothing to score: all labelled pairs are shots, or no output is known")
    except (ValueError, OSError, ImportError) as error:
        return ReadTask(problem=" ".join(str(error).split()).removeprefix("1 problem in the data: - "))
    metric = data.make_metric()
    digest = hashlib.sha256(f"{type(metric).__name__} {data.codec.spec_hash}".encode())
    for pair in [*data.support, *queries]:
        digest.update(f"{pair.key} {picture_digest(pair)}".encode() + content_of(pair.target))
    expected = [parse_json(to_json({"key": q.key, "attempts": 0, **metric.measure([], q)})) for q in queries]
    frames, height, width = data.clip_shape
    shared = [data.clip_shape, data.transition, data.batch_size, type(data.codec).__name__, metric.main]
    return ReadTask(digest.hexdigest()[:16], shared, metric.main, frames * height * width, expected)


def content_of(label: Any) -> bytes:
    """Bytes that tell labels apart."""
    if isinstance(label, np.ndarray) and label.dtype != object:
        return f"{label.dtype}{label.shape}".encode() + np.ascontiguousarray(label).tobytes()
    return repr(label).encode()


def work_of(cli: ResolvedCLI, options: Mapping[str, Any], queries: int) -> float:
    """Clips that go through the denoiser, forward and back counted threefold."""
    trainer, sampling = cli.trainer, cli.model.sampling
    trained = 3 * max(trainer.max_steps, 1) * trainer.accumulate_grad_batches * options.get("batch_size", 1)
    return float(trained + queries * sampling.attempts * sampling.num_inference_steps(cli.model.backbone.preset))


def stand_in(unit: Unit, units: Sequence[Unit]) -> Unit:
    """A task that cannot be read counts as one failed query, for which one of another task stands in."""
    other = next(other for other in units if not other.problem)
    failed = {**other.expected[0], "key": "unreadable", "task": unit.task, "failure": unit.problem}
    return replace(unit, main=other.main, expected=[failed])
