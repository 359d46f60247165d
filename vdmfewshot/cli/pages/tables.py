"""The leaderboard as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vdmfewshot.callbacks import table
from vdmfewshot.cli.pages.runs import RunReport

COLUMNS = ("score", "low", "high", "ceiling", "copy_input", "mean_target", "n", "n_expected")


def rows(runs: Sequence[RunReport]) -> list[dict[str, Any]]:
    """One row a run: folder, task, metric, score with its interval and references, seconds, settings."""
    return [
        {
            **{"run": str(run.folder), "task": run.task, "metric": run.main},
            **{name: run.row.get(name) for name in COLUMNS},
            "seconds": round(run.seconds, 1),
            **{f"{name}": value for name, value in run.settings.items() if name != "task"},
        }
        for run in runs
    ]


def to_json(runs: Sequence[RunReport]) -> str:
    """Rows as JSON."""
    return json.dumps(rows(runs), indent=2) + "\n"


def to_csv(runs: Sequence[RunReport]) -> str:
    """Rows as CSV with a heading; a field that would be a formula in a spreadsheet gets a quote before it."""
    found = rows(runs)
    names = list(dict.fromkeys(name for row in found for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in found)
    return buffer.getvalue()


def to_markdown(runs: Sequence[RunReport]) -> str:
    """The main columns as a Markdown table."""
    heads = ("run", "task", "metric", "score", "95 %", "ceiling", "copy-input", "mean-target", "n")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows(runs):
        references = [number(row[name]) for name in COLUMNS[3:6]]
        cells = [row["run"], row["task"], row["metric"], number(row["score"]), interval(row), *references]
        cells.append(f"{row['n']}/{row['n_expected']}")
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def number(value: float | None) -> str:
    """A score as people read it; a dash for none."""
    return table.number(value, missing="–")


def interval(row: Mapping[str, Any]) -> str:
    """The 95 % interval of a score; a dash for none."""
    return "–" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}"


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
