"""``vdmfewshot report``: one table over the scores of many runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vdmfewshot.callbacks.table import runs_table

#: a narrow terminal may break lines of the table, but must not cost it columns
WIDTH = 1000


@dataclass(frozen=True)
class RunScore:
    """The main test score of a run.

    Attributes:
        run: folder of the run.
        metric: name of the score.
        row: its fields, as in ``scores.json``.
        seconds: training and scoring; scoring alone for a run that only tested.
    """

    run: Path
    metric: str
    row: dict[str, Any]
    seconds: float


def report(args: Sequence[str]) -> None:
    """Print the main score of each run folder.

    Args:
        args: folders of runs (``runs/<name>/version_<k>``) or folders that hold such.
    """
    parser = argparse.ArgumentParser("vdmfewshot report", description="Compare the test scores of runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, or folders above them")
    folders = parser.parse_args(list(args)).runs
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        parser.error(f"no such folder: {', '.join(missing)}")
    found = {score.run.resolve(): score for folder in folders for score in read_runs(folder)}
    if not found:
        parser.error("no test scores below these folders; run `vdmfewshot adapt` or `vdmfewshot test` first")
    rows = [(str(score.run), score.metric, {**score.row, "seconds": score.seconds}) for score in found.values()]
    Console(width=WIDTH).print(runs_table(rows))


def read_runs(folder: Path) -> list[RunScore]:
    """The main test score of every run at or below a folder, at its last step, in order of path.

    Raises:
        ValueError: naming a ``scores.json`` that is damaged or of another version.
    """
    last: dict[Path, tuple[int, Path]] = {}
    for file in sorted(folder.glob("**/scores/test/step=*/scores.json")):
        run, step = file.parents[3], int(file.parent.name.removeprefix("step="))
        last[run] = max(last.get(run, (-1, file)), (step, file))
    return [read_score(run, file) for run, (_, file) in last.items()]


def read_score(run: Path, file: Path) -> RunScore:
    """The main row of one ``scores.json``.

    Raises:
        ValueError: naming the file, if it is damaged or of another version.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        row = content["scores"][content["main"]]
        return RunScore(run, content["main"], row, content["fit_seconds"] + row["seconds"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged or of another version of vdmfewshot; run the test again") from error
