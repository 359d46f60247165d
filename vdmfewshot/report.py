"""``vdmfewshot report``: one table over the scores of many runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def report(args: Sequence[str]) -> None:
    """Print the main score of each run folder.

    Args:
        args: folders of runs (``runs/<name>/version_<k>``) or folders that hold such.
    """
    parser = argparse.ArgumentParser("vdmfewshot report", description="Compare the test scores of runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, or folders above them")
    rows = [row for folder in parser.parse_args(list(args)).runs for row in read_runs(folder)]
    if not rows:
        parser.error("no test scores below these folders; run `vdmfewshot adapt` or `vdmfewshot test` first")
    Console(width=140).print(table(rows))


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """The main row of every ``scores/test/**/scores.json`` at or below a folder, in order of path."""
    rows = []
    for file in sorted(folder.glob("**/scores/test/**/scores.json")):
        content = json.loads(file.read_text())
        main = content["main"]
        run = file.relative_to(folder.parent) if folder.parent in file.parents else file
        rows.append({"run": str(run).partition("/scores/")[0], "metric": main, **content["scores"][main]})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows as a rich table."""
    result = Table(title="test scores")
    for heading in ("run", "metric", "score", "95 % interval", "ceiling", "copy-input", "mean-target", "n", "seconds"):
        result.add_column(heading, justify="left" if heading in ("run", "metric") else "right")
    return result
