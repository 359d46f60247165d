"""A W&B sweep as a study, without an account: its grid or its random draws become the points."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vdmfewshot.storage.limited_yaml import parse_yaml, read_yaml
from vdmfewshot.studies.settings import Point

#: draws of a random sweep, which has no end of its own
RUNS = 20


def read_sweep(file: Path, runs: int | None = None) -> dict[str, Any]:
    """Settings of the study that a sweep describes: its configurations, its fixed options, and its points.

    Every point is adapted and scored, whatever verb the sweep's command has: a study compares test scores of ``adapt``.

    Args:
        file: YAML as W&B has it, with ``method`` grid or random and a ``command`` list of a ``vdmfewshot`` run.
        runs: draws of a random sweep; ``RUNS`` if not given.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for another method, or parameters and commands that cannot be understood.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no such sweep: {file} (looked from {Path.cwd()})")
    content = read_yaml(file)
    if not isinstance(content, Mapping) or not isinstance(content.get("parameters"), Mapping):
        raise ValueError(f"{file} is no W&B sweep: it needs method, parameters and command")
    base, fixed = read_command(content.get("command") or [])
    method = content.get("method")
    if method not in ("grid", "random"):
        raise ValueError(f"method of a sweep must be grid or random to run here, got {method!r}; W&B runs the others")
    points = list(grid(content["parameters"]) if method == "grid" else draws(content["parameters"], runs or RUNS))
    return {"name": file.stem, "base": base, "set": fixed, "points": points}


def read_command(command: Sequence[Any]) -> tuple[list[str], dict[str, Any]]:
    """Configurations and options of ``[vdmfewshot, fit, -c, FILE, --KEY=VALUE, ${args}]``, without those of W&B."""
    base, fixed = [], {}
    words = [str(word) for word in command]
    for word, after in itertools.pairwise([*words, ""]):
        if word in ("-c", "--config") and Path(after).stem != "wandb":
            base.append(after)
        elif word.startswith("--") and "=" in word and not word.startswith("--trainer.logger"):
            key, _, value = word[2:].partition("=")
            fixed[key] = parse_yaml(value)
    return base, fixed


def grid(parameters: Mapping[str, Any]) -> Iterator[Point]:
    """Every combination of the listed values."""
    listed = {}
    for name, spec in parameters.items():
        values = spec.get("values", [spec["value"]] if "value" in spec else None) if isinstance(spec, Mapping) else None
        if not values:
            raise ValueError(f"parameters.{name} of a grid must list values, got {spec!r}")
        listed[name] = values
    for values in itertools.product(*listed.values()):
        yield dict(zip(listed, values, strict=True))


def draws(parameters: Mapping[str, Any], runs: int) -> Iterator[Point]:
    """Random points, the same ones every time."""
    rng = random.Random("vdmfewshot sweep")
    seen = []
    for _ in range(100 * runs):
        point = {name: draw(name, spec, rng) for name, spec in parameters.items()}
        if point not in seen:
            seen.append(point)
            yield point
        if len(seen) == runs:
            return


DISTRIBUTIONS: dict[str, Callable[[random.Random, float, float], float]] = {
    "uniform": lambda rng, low, high: rng.uniform(low, high),
    "log_uniform_values": lambda rng, low, high: math.exp(rng.uniform(math.log(low), math.log(high))),
    "int_uniform": lambda rng, low, high: rng.randint(int(low), int(high)),
}


def draw(name: str, spec: Mapping[str, Any], rng: random.Random) -> Any:
    """One value of a parameter.

    Raises:
        ValueError: for a distribution that is not among ``DISTRIBUTIONS``.
    """
    if "value" in spec:
        return spec["value"]
    if "values" in spec:
        return rng.choice(spec["values"])
    whole = isinstance(spec.get("min"), int) and isinstance(spec.get("max"), int)
    kind = spec.get("distribution", "int_uniform" if whole else "uniform")
    if kind not in DISTRIBUTIONS or not {"min", "max"} <= set(spec):
        raise ValueError(
            f"parameters.{name}: distribution must be {', '.join(DISTRIBUTIONS)} with min and max, got {spec}"
        )
    return DISTRIBUTIONS[kind](rng, spec["min"], spec["max"])
