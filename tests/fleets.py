"""Starts fleets of tiny ARC tasks for the tests, and watches what they start."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vdmfewshot.cli.command import main as real_main
from vdmfewshot.studies.fleet import run

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
NAMES = ["t0", "t1", "t2", "t3", "t4"]
Before = Callable[[list[str], list[list[str]]], None]


def command(source: Path, tiny: Path, runs: Path, *args: str) -> list[str]:
    return [
        *(
            "-c",
            str(EXPERIMENTS / "arc-fleet.yaml"),
            "--data.init_args.source",
            str(source),
            "--trainer.default_root_dir",
            str(runs),
        ),
        *("--data.init_args.height=32", "--data.init_args.width=32", "--trainer.precision=32", "--trainer.max_steps=2"),
        *("--model.init_args.sampling.steps=1", "--model.init_args.backbone.init_args.path", str(tiny), *args),
    ]


def watch(patch: pytest.MonkeyPatch, before: Before) -> list[list[str]]:
    """The tasks of every stack that is started; ``before`` is called with the tasks and the stacks before."""
    stacks: list[list[str]] = []

    def main(args: list[str]) -> Any:
        (tasks,) = [json.loads(arg.partition("=")[2]) for arg in args if arg.startswith("--data.init_args.tasks=")]
        before(tasks, stacks)
        stacks.append(tasks)
        return real_main(args)

    patch.setattr(run, "main", main)
    return stacks


def nothing(tasks: list[str], stacks: list[list[str]]) -> None:
    pass


def interrupt_second(tasks: list[str], stacks: list[list[str]]) -> None:
    if stacks:
        raise KeyboardInterrupt


def records(folder: Path, name: str) -> list[Path]:
    return list(folder.glob(f"**/t*/version_0/scores/test/step=2/{name}/records.jsonl"))
