"""``vdmfewshot study``: gives the engine the command line, which it imports only if there is something to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vdmfewshot.cli.errors import plain_errors
from vdmfewshot.studies.command import study as run_study
from vdmfewshot.studies.work import Adapter, Planner


def study(args: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    return run_study(args, make_planner, make_adapter)


def run(args: Sequence[str]) -> int:
    """Run the verb for a shell: mistakes are printed; returns the exit status."""
    with plain_errors():
        return study(args)


def make_planner(listed: bool = False) -> Planner:
    """Plans with the command line of ``adapt``; see ``CommandLinePlanner``."""
    from vdmfewshot.cli.planner import CommandLinePlanner

    return CommandLinePlanner(listed)


def make_adapter(folder: Path, keep: Sequence[str]) -> Adapter:
    """Runs units as ``adapt`` does."""
    from vdmfewshot.cli.runner import CommandLineAdapter

    return CommandLineAdapter(folder, keep)
