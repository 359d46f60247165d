"""What a study is: an ordinary configuration, tasks, axes, and where the units run. Read without any heavy library."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from vdmfewshot.storage.limited_yaml import read_yaml

Point = dict[str, Any]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
#: what a study can keep of a unit beside its records
KEEPABLE = ("pictures", "adapter", "frames")


@dataclass(frozen=True)
class Executor:
    """Where units run.

    Attributes:
        kind: in this process, or on Ray.
        workers: Ray actors; as many as the cluster has room for, if not given.
        devices_per_unit: GPUs, or processes on CPUs, that train one unit together, as its trainer's ``strategy`` says.
        address: of a running Ray cluster, or ``auto``; a cluster on this machine if not given.
        num_gpus: for a device; a fraction shares a card, 0 runs on CPUs. 1 where the cluster has any, if not given.
        num_cpus: for a device.
        max_attempts: at which a unit whose worker died or hung counts as failed.
        timeout: seconds after which a stack counts as hung; if not given, 20 times the median of a unit so far, for
            each of its units, and at least five minutes.
    """

    kind: Literal["local", "ray"] = "local"
    workers: int | None = None
    devices_per_unit: int = 1
    address: str | None = None
    num_gpus: float | None = None
    num_cpus: float = 1
    max_attempts: int = 3
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: naming rule and value.
        """
        if self.kind not in ("local", "ray"):
            raise ValueError(f"executor.kind must be local or ray, got {self.kind!r}")
        for name in ("workers", "max_attempts", "timeout", "num_cpus"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"executor.{name} must be a number above 0, got {value!r}")
        devices, gpus = self.devices_per_unit, self.num_gpus
        if not (isinstance(devices, int) and devices > 0):
            raise ValueError(f"executor.devices_per_unit must be a whole number from 1, got {devices!r}")
        if devices > 1 and gpus not in (None, 0, 1):
            raise ValueError(f"executor.num_gpus is of a device, and units of {devices} share no card, got {gpus!r}")


@dataclass(frozen=True)
class Study:
    """Settings of a study, as in its YAML file.

    Attributes:
        base: configuration files of ``adapt``, later ones win.
        name: of the folder below ``out``.
        set: options of ``adapt`` for all units, by their dotted names.
        tasks: which tasks, see ``vdmfewshot.studies.tasks``; the base's own data if empty.
        axes: values by option: a dotted option of ``adapt``, an option of the data module, or ``model``, ``seed``,
            ``steps``, ``rank``, ``lr``.
        choices: for an axis, the options of ``adapt`` that each of its values stands for, where they are several.
        points: points of the grid one by one, instead of ``axes``; one may name its own ``tasks``.
        stack: units that train side by side where they can; ``auto`` is 16, halved where memory does not suffice.
        executor: where units run.
        keep: what is kept of a unit beside its records: ``pictures`` of the first samples, ``adapter``, and ``frames``,
            which are the generated ones.
        out: folder of studies.
        args: further words of the ``adapt`` command line, for all units.
        wandb: arguments of the W&B logger: one run for the study; none if not given.
    """

    base: tuple[str, ...] = ()
    name: str = "study"
    set: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    choices: Mapping[str, Mapping[Any, Mapping[str, Any]]] = field(default_factory=dict)
    points: Sequence[Point] = ()
    stack: int | Literal["auto"] = "auto"
    executor: Executor = Executor()
    keep: Sequence[str] = ()
    out: str = "runs"
    args: Sequence[str] = ()
    wandb: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without reading the base.

        Raises:
            ValueError: naming rule and value.
        """
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name must be letters, digits and ._- and begin with no sign, got {self.name!r}")
        if self.stack != "auto" and not (isinstance(self.stack, int) and self.stack > 0):
            raise ValueError(f"stack must be auto or a whole number from 1, got {self.stack!r}")
        for axis, values in self.axes.items():
            if not isinstance(values, list | tuple) or not values:
                raise ValueError(f"axes.{axis} must be a list of one or more values, got {values!r}")
        if self.axes and self.points:
            raise ValueError("axes and points exclude each other: a grid, or its points one by one")
        for axis, value in ((a, v) for a, v in self._values() if a in self.choices and v not in self.choices[a]):
            known = ", ".join(map(str, self.choices[axis]))
            raise ValueError(f"choices.{axis} must say what {value!r} stands for, got {known}")
        for item in self.keep:
            if item not in KEEPABLE:
                raise ValueError(f"keep must be of {', '.join(KEEPABLE)}, got {item!r}")

    def _values(self) -> Iterator[tuple[str, Any]]:
        for axis, values in self.axes.items():
            yield from ((axis, value) for value in values)
        for point in self.points:
            yield from point.items()

    @property
    def folder(self) -> Path:
        """Where everything of this study lies."""
        return Path(self.out) / self.name

    @property
    def stack_size(self) -> int:
        """Units of a stack at most; those of several devices run one by one."""
        if self.executor.devices_per_unit > 1:
            return 1
        return 16 if self.stack == "auto" else self.stack

    def grid(self) -> Iterator[Point]:
        """The points, in order; one empty point without axes."""
        if self.points:
            yield from self.points
            return
        for values in itertools.product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))

    def options(self, point: Point) -> dict[str, Any]:
        """Options of ``adapt`` at a point: its values, with what ``choices`` has in the place of their names."""
        options: dict[str, Any] = {}
        for axis, value in point.items():
            options |= self.choices[axis][value] if axis in self.choices else {axis: value}
        return options

    def digest(self) -> str:
        """Name of what is to be measured; where it runs does not count."""
        parts = [list(self.base), self.set, self.tasks, self.axes, list(self.points), list(self.keep)]
        parts += [list(self.args), *([self.choices] if self.choices else [])]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read_study(file: Path | None, overrides: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Study:
    """The study of a YAML file with some values replaced.

    Args:
        file: YAML; ``None`` for a study of overrides alone.
        overrides: values by dotted name, such as ``executor.kind``; what follows ``set.`` or ``axes.`` is one name.
        defaults: of keys that the file leaves out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming an unknown key and the nearest one, or a broken rule.
    """
    content: dict[str, Any] = {**(defaults or {}), **(_read(file) if file else {})}
    for key, value in overrides.items():
        _put(content, key, value)
    if file is not None:
        content.setdefault("name", file.stem)
    content["base"] = tuple(_listed(content.get("base")))
    if file is not None:
        content["base"] = tuple(_beside(file, base) for base in content["base"])
    if not content["base"]:
        raise ValueError("base must name one or more configuration files of `vdmfewshot adapt`, got none")
    executor = content.pop("executor", None) or {}
    _check_keys(executor, [f.name for f in fields(Executor)], "executor.")
    _check_keys(content, [f.name for f in fields(Study)], "")
    for key in ("set", "tasks", "axes", "choices"):
        if not isinstance(content.setdefault(key, {}) or {}, Mapping):
            raise ValueError(f"{key} must map names to values, got {content[key]!r}")
        content[key] = content[key] or {}
    return Study(**content, executor=Executor(**executor))


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"no such study: {file} (looked from {Path.cwd()})")
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} must map settings to values, got {type(content).__name__}")
    return content


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    head, _, rest = key.partition(".")
    if not rest:
        content[head] = value
        return
    inner = content.get(head)
    inner = dict(inner) if isinstance(inner, Mapping) else {}
    content[head] = inner | {rest: value}


def _listed(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(item) for item in value]


def _beside(file: Path, base: str) -> str:
    """A base is looked for beside the study, above it, then from where the command runs."""
    places = [file.parent / base, file.parent.parent / base]
    return next((str(place) for place in places if place.is_file()), base)


def _check_keys(content: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(content, Mapping):
        raise ValueError(f"{where.rstrip('.')} must map names to values, got {content!r}")
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {where}{near[0]}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"unknown setting {where}{key} of a study; {hint}")
