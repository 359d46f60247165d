"""One self-contained HTML page over many runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vdmfewshot import __version__
from vdmfewshot.cli.pages.compare import comparisons
from vdmfewshot.cli.pages.figures import curves, library, scatter
from vdmfewshot.cli.pages.pictures import Album
from vdmfewshot.cli.pages.runs import RunReport, Sample
from vdmfewshot.cli.pages.tables import interval, number
from vdmfewshot.data.arc_tasks import load_task


@dataclass(frozen=True)
class Board:
    """An ARC test input: pictures of demonstrations, test input, truth and attempts with votes, as data URIs."""

    demonstrations: list[tuple[str | None, str | None]]
    query: str | None
    truth: str | None
    attempts: list[tuple[str | None, int]]


def write_page(runs: Sequence[RunReport], file: Path) -> int:
    """Write the page; it works from a file, without a network.

    Returns:
        number of pictures that were left out for its size.

    Raises:
        ValueError: if plotly is missing.
    """
    album = Album()
    environment = Environment(
        loader=PackageLoader("vdmfewshot.cli.pages", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"number": number, "interval": interval}
    text = environment.get_template("page.html.j2").render(
        version=__version__,
        plotly=library(),
        runs=[(run, cards(run, album)) for run in runs],
        curves=curves(runs),
        comparisons=[(found, scatter(found)) for found in comparisons(runs)],
        album=album,
        settings=sorted({name for run in runs for name in run.settings}),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return album.omitted


def cards(run: RunReport, album: Album) -> list[dict[str, Any]]:
    """What is shown of each sample of a run."""
    return [
        {
            "sample": sample,
            "picture": album.picture(sample.picture),
            "clip": album.clip(sample.clip),
            "board": board(run, sample, album),
        }
        for sample in run.samples
    ]


def board(run: RunReport, sample: Sample, album: Album) -> Board | None:
    """An ARC query with its task, where the run says which task that is and it can still be read."""
    answers, name = sample.record.get("answers"), sample.record.get("task")
    if answers is None or name is None:
        return None
    try:
        task = load_task(str(run.settings["source"]), run.settings["split"], str(name))
        query, truth = task.test[int(sample.key.rpartition("-")[2])]
    except (KeyError, ValueError, IndexError, OSError):
        return None
    return Board(
        [(album.grid(x), album.grid(y)) for x, y in task.train],
        album.grid(query),
        album.grid(truth) if truth is not None else None,
        [(album.grid(a), v) for a, v in zip(answers, sample.record.get("votes") or [1] * len(answers), strict=False)],
    )
