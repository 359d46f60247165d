"""``vdmfewshot study``: gives the engine the command line, which it imports only if there is something to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vdmfewshot.cli.destinations import FLAG, check_study
from vdmfewshot.cli.errors import plain_errors
from vdmfewshot.cli.ranks import RanksAdapter
from vdmfewshot.studies.command import make_parser
from vdmfewshot.studies.command import study as run_study
from vdmfewshot.studies.work import Adapter, Planner


def study(args: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    options, _ = make_parser().parse_known_args(list(args))
    for file in filter(None, (options.config, options.sweep)):
        if file.is_file():
            check_study(file, args)
    return run_study([word for word in args if word.partition("=")[0] != f"--{FLAG}"], make_planner, make_adapter)


def run(args: Sequence[str]) -> int:
    """Run the verb for a shell: mistakes are printed; returns the exit status."""
    with plain_errors():
        return study(args)


def make_planner(listed: bool = False) -> Planner:
    """Plans with the command line of ``adapt``; see ``CommandLinePlanner``."""
    from vdmfewshot.cli.planner import CommandLinePlanner

    return CommandLinePlanner(listed)


def make_adapter(folder: Path, keep: Sequence[str], devices: int) -> Adapter:
    """Runs units as ``adapt`` does: in this process, or each in as many processes as it has devices."""
    if devices > 1:
        return RanksAdapter(folder, keep, devices)
    from vdmfewshot.cli.runner import CommandLineAdapter

    return CommandLineAdapter(folder, keep)
