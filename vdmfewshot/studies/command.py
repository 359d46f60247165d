"""``vdmfewshot study``: its verbs and options."""

from __future__ import annotations

import argparse
import difflib
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from vdmfewshot.storage.limited_yaml import parse_yaml
from vdmfewshot.studies.engine import Engine
from vdmfewshot.studies.settings import read_study
from vdmfewshot.studies.sweep import read_sweep
from vdmfewshot.studies.work import MakeAdapter, Planner

VERBS = ("run", "status", "retry", "report", "export", "submission")
DESCRIPTION = """Runs many adaptations as one: every point of a grid on every task is a unit.

  study -c study.yaml            run what is missing, then report
  study status -c study.yaml     how far it is, what runs, what failed and why
  study retry -c study.yaml      failed units again; --failed oom,crash: those
  study report -c study.yaml     scores of what there is
  study export FILE.csv -c study.yaml     one row a unit; .parquet, too
  study submission FILE -c study.yaml     answers for the ARC Prize, all tasks
  study --sweep sweep.yaml       a grid or random sweep of W&B, without account

A study, here of every folder of pairs below my_tasks:

  base: nuclei              where units start from: a name of `vdmfewshot list`,
                            a file, or several
  tasks: {folders: my_tasks/*}   or source (ARC), generated, categories; left
                            out: the data of the base
  axes: {shots: [1, 3], rank: [4, 16]}   every combination is a point; also
                            support_seed, seed, lr, steps, model, and any option
                            of adapt
  set: {trainer.max_steps: 60}   options of adapt for all units
  stack: auto               units trained side by side, up to 16; 1: one by one
  keep: [pictures, adapter] beside scores and records; left out: neither
  executor: {kind: local}   or ray; workers, devices_per_unit, num_gpus,
                            num_cpus, address, max_attempts, timeout
  out: runs                 results are in OUT/NAME
  name: my_study            left out: the name of the file

Every setting can be given here, too, and wins:
  --executor.kind ray --axes.shots '[1, 3]' --set.trainer.max_steps 20
Starting again does what is missing and nothing else, whatever ended it; several
may run at once. Exit status: 0; 3 if units have failed; 2 for a mistake.
Every setting, Ray and clusters: docs/studies.md"""


def study(args: Sequence[str], make_planner: Callable[[], Planner], make_adapter: MakeAdapter) -> int:
    """Run the command.

    Args:
        args: command line after ``study``.
        make_planner: makes what turns settings into units.
        make_adapter: makes what runs units; a function of a module, which other processes can import.

    Returns:
        exit status.

    Raises:
        ValueError: for settings that cannot be a study.
        FileNotFoundError: if there is no such file.
    """
    parser = make_parser()
    verb, rest = (args[0], list(args[1:])) if args and args[0] in VERBS else ("run", list(args))
    options, others = parser.parse_known_args(rest)
    if rest and rest == list(args) and not rest[0].startswith("-"):
        near = difflib.get_close_matches(rest[0], VERBS, n=1) or [", ".join(VERBS)]
        parser.error(f"no verb {rest[0]!r}; did you mean {near[0]}?")
    if (options.config is None) == (options.sweep is None):
        parser.error("give a study with -c FILE, or a W&B sweep with --sweep FILE")
    file = others.pop(0) if others and not others[0].startswith("-") else None
    defaults = read_sweep(options.sweep, options.runs) if options.sweep else None
    settings = read_study(options.config, overrides(others), defaults)
    if options.print_config:
        make_planner().show(settings)
    engine = Engine(settings, make_planner, make_adapter, Console())
    if verb in ("export", "submission"):
        where = overrides([f"--{word}" for word in options.where])
        engine.write(verb, Path(file) if file else None, where)
        return 0
    if file is not None:
        raise ValueError(f"study {verb} takes no file, got {file!r}; see vdmfewshot study --help")
    if verb == "status":
        engine.status()
        return 0
    return engine.report() if verb == "report" else engine.run(kinds(options.failed) if verb == "retry" else None)


def make_parser() -> argparse.ArgumentParser:
    """Options that are no settings."""
    parser = argparse.ArgumentParser(
        "vdmfewshot study",
        usage="vdmfewshot study [VERB] -c FILE [--SETTING VALUE ...]",
        description=DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="the study, a YAML file")
    parser.add_argument("--sweep", type=Path, metavar="FILE", help="a W&B sweep, run without an account")
    parser.add_argument(
        "--failed",
        nargs="?",
        const="",
        default="",
        metavar="KINDS",
        help="for retry: data, nan, oom, timeout, crash, error",
    )
    parser.add_argument("--print_config", action="store_true", help="show the first point's configuration, run nothing")
    parser.add_argument("--where", nargs="+", default=[], metavar="AXIS=VALUE", help="for submission: which point")
    parser.add_argument("--runs", type=int, metavar="N", help="for --sweep: draws of a random sweep (default: 20)")
    return parser


def kinds(text: str) -> list[str]:
    """Words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def overrides(words: Sequence[str]) -> dict[str, Any]:
    """``--executor.kind ray --stack=4`` as values by dotted name.

    Raises:
        ValueError: naming a word that is no option, or an option without a value.
    """
    found: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"expected --SETTING VALUE, got {word!r}; see vdmfewshot study --help")
        key, sign, text = word[2:].partition("=")
        if not sign:
            if not rest or rest[0].startswith("--"):
                raise ValueError(f"--{key} needs a value")
            text = rest.pop(0)
        try:
            found[key] = parse_yaml(text)
        except yaml.YAMLError:
            found[key] = text
    return found
