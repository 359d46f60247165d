"""``vdmfewshot fleet``: a study of one point, from an ``adapt`` command line over data that list tasks."""

from __future__ import annotations

import argparse
import json
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from vdmfewshot.cli.naming import run_name
from vdmfewshot.cli.study import make_adapter, make_planner
from vdmfewshot.storage.atomic import replacing
from vdmfewshot.storage.documents import read_json
from vdmfewshot.studies.engine import Engine
from vdmfewshot.studies.report import SUMMARY
from vdmfewshot.studies.settings import Study

DESCRIPTION = """Adapts and scores all tasks of a stack's list, however many, as stacks of K, one after the other.

vdmfewshot fleet -c experiments/arc-fleet.yaml
vdmfewshot fleet -c experiments/arc-fleet.yaml --stack 32 --data.init_args.tasks='["ID", "ID", ...]'
vdmfewshot fleet -c experiments/arc-fleet.yaml --report_only true

All other options are those of `vdmfewshot adapt`. Exit status: 0, 3 if tasks have no result.
A second start does what is missing, and what failed, again.
It is a study of one point: axes, Ray and clusters are those of `vdmfewshot study`, see docs/studies.md."""


def fleet(args: Sequence[str]) -> int:
    """Run the verb.

    Args:
        args: command line after ``fleet``.

    Returns:
        exit status: 0, or 3 if tasks have no result.

    Raises:
        ValueError: for what cannot be a fleet, before anything is trained; if nothing can be scored.
    """
    options, rest = make_parser().parse_known_args(list(args))
    engine = Engine(read_fleet(options, rest), partial(make_planner, listed=True), make_adapter, Console())
    if options.print_config:
        make_planner().show(engine.study)
    status = engine.report() if options.report_only == "true" else engine.run(retry=[])
    publish(engine)
    return status


def make_parser() -> argparse.ArgumentParser:
    """Options that are not simply those of ``adapt``."""
    parser = argparse.ArgumentParser(
        "vdmfewshot fleet", description=DESCRIPTION, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("-c", "--config", action="append", default=[], metavar="FILE", help="as for adapt")
    parser.add_argument("--stack", type=int, default=16, metavar="K", help="tasks of a stack (default: 16)")
    parser.add_argument("--name", help="folder of the fleet; default: name of the experiment")
    parser.add_argument("--trainer.default_root_dir", default="runs", metavar="FOLDER", help="folder of fleets")
    parser.add_argument("--print_config", action="store_true", help="show the configuration, and run nothing")
    parser.add_argument(
        "--report_only",
        nargs="?",
        const="true",
        default="false",
        type=str.lower,
        choices=("true", "false"),
        help="adapt nothing",
    )
    return parser


def read_fleet(options: argparse.Namespace, rest: Sequence[str]) -> Study:
    """The study of a command line."""
    name = options.name or run_name([Path(file) for file in options.config], rest, "fleet")
    place = Path(vars(options)["trainer.default_root_dir"]) / name
    return Study(
        tuple(options.config),
        name=place.name,
        out=str(place.parent),
        args=tuple(rest),
        stack=options.stack,
        keep=("adapter",) if any("AdapterExport" in word for word in rest) else (),
    )


def publish(engine: Engine) -> None:
    """Write ``fleet.json``: the scores over all tasks, what is solved, what is missing and why, and hours."""
    folder = engine.study.folder
    summary: Mapping[str, Any] = read_json(folder / SUMMARY, "run the fleet again")
    (point,) = summary["points"]
    content = {
        "task": f"{summary['expected']} tasks",
        **{key: point[key] for key in ("main", "step", "fit_seconds", "scores", "expected", "solved")},
        **{"wall_hours": summary["hours"], "cpu_hours": summary["cpu_hours"], "tasks": summary["tasks"]},
        "missing": {task: why["reason"] for task, why in summary["missing"].items()},
    }
    with replacing(folder / "fleet.json") as file:
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    solved = point["solved"]
    engine.say(f"{len(solved)} tasks solved: {' '.join(solved) or '-'}; {folder / 'fleet.json'}")
