"""``vdmfewshot report``: one table over the scores of many runs, in the terminal or a file; a page for a browser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vdmfewshot.callbacks.table import runs_table
from vdmfewshot.cli.pages.runs import read_scores
from vdmfewshot.storage.atomic import replacing
from vdmfewshot.storage.errors import DamagedFileError

#: of files that hold the table
FORMATS = {"markdown": "Markdown", "csv": "CSV", "json": "JSON"}
#: in files lines stay whole; a narrow terminal breaks names of runs, and must not cost the table columns
WIDTH, LEAST = 1000, 80


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
    """Print the main score of each run folder, or write it, and more, to files.

    Args:
        args: folders of runs (``runs/<name>/version_<k>``) or folders that hold such.
    """
    parser = argparse.ArgumentParser("vdmfewshot report", description="Compare the test scores of runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, or folders above them")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page for a browser")
    for name, title in FORMATS.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write the table as {title}; - prints it")
    options = parser.parse_args(list(args))
    folders = options.runs
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        parser.error(f"no such folder: {', '.join(missing)}")
    found = {run.resolve(): (run, file) for folder in folders for run, file in find_scores(folder).items()}
    if not found:
        parser.error("no test scores below these folders; run `vdmfewshot adapt` or `vdmfewshot test` first")
    if any(getattr(options, name) for name in ("html", *FORMATS)):
        write(options, list(found.values()))
        return
    scores: list[RunScore] = []
    damaged: list[str] = []
    for run, file in found.values():
        try:
            scores.append(read_score(run, file))
        except DamagedFileError as error:  # the others are shown all the same
            damaged.append(str(error))
    rows = [(str(score.run), score.metric, {**score.row, "seconds": score.seconds}) for score in scores]
    if rows:
        console = Console()
        console.width = max(LEAST, console.width) if console.is_terminal else WIDTH
        console.print(runs_table(rows))
    if damaged:
        raise DamagedFileError("; ".join(damaged))


def write(options: argparse.Namespace, found: Sequence[tuple[Path, Path]]) -> None:
    """Write the files that the options name, and say so."""
    from vdmfewshot.cli.pages import page, tables
    from vdmfewshot.cli.pages.runs import read_run

    runs = [read_run(run, file) for run, file in found]
    for name in FORMATS:
        file = getattr(options, name)
        if file is not None:
            text = getattr(tables, f"to_{name}")(runs)
            if str(file) == "-":
                sys.stdout.write(text)
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                with replacing(file) as draft:
                    draft.write_text(text, encoding="utf-8")
                sys.stdout.write(f"{file}: {len(runs)} runs\n")
    if options.html is not None:
        omitted = page.write_page(runs, options.html)
        left_out = f", {omitted} pictures left out to stay below 20 MB" if omitted else ""
        sys.stdout.write(f"{options.html}: {len(runs)} runs{left_out}\n")


def read_runs(folder: Path) -> list[RunScore]:
    """The main test score of every run at or below a folder, at its last step, in order of path.

    Raises:
        ValueError: naming a ``scores.json`` that is damaged or of another version.
    """
    return [read_score(run, file) for run, file in find_scores(folder).items()]


def find_scores(folder: Path) -> dict[Path, Path]:
    """``scores.json`` of the last test of every run at or below a folder, in order of path."""
    last: dict[Path, tuple[int, Path]] = {}
    for file in sorted(folder.glob("**/scores/test/step=*/scores.json")):
        run, step = file.parents[3], file.parent.name.removeprefix("step=")
        if step.isdecimal():  # a folder of another name is none of ours
            last[run] = max(last.get(run, (-1, file)), (int(step), file))
    return {run: file for run, (_, file) in last.items()}


def read_score(run: Path, file: Path) -> RunScore:
    """The main row of one ``scores.json``.

    Raises:
        DamagedFileError: naming the file, if it is damaged or of another version.
    """
    content, row = read_scores(file)
    return RunScore(run, content["main"], row, content["fit_seconds"] + row["seconds"])
