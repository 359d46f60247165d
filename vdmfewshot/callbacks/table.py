"""Tables of scores for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

#: columns after the interval: heading and field of ``scores.json``
REFERENCES = (("ceiling", "ceiling"), ("copy\ninput", "copy_input"), ("mean\ntarget", "mean_target"))


def score_table(title: str, scores: Mapping[str, Mapping[str, Any]], main: str | None = None) -> Table:
    """Scores of one run with their 95 % intervals beside the encoding ceiling and the trivial baselines.

    Args:
        title: above the table.
        scores: by name, each with the fields of ``scores.json``.
        main: the row to stress, shown first.
    """
    table = _table(title, "")
    for name in sorted(scores, key=lambda name: name != main):
        table.add_row(escape(name), *_cells(scores[name]), style="bold" if name == main else None)
    return table


def runs_table(rows: Iterable[tuple[str, str, Mapping[str, Any]]]) -> Table:
    """Main scores of many runs, with the same columns.

    Args:
        rows: name of the run, name of the score, and its fields as in ``scores.json``.
    """
    table = _table("test scores", "run", "metric")
    for run, metric, row in rows:
        table.add_row(escape(run), escape(metric), *_cells(row))
    return table


def _table(title: str, *names: str) -> Table:
    """A table of left-aligned names and right-aligned numbers."""
    # Narrow enough for 80 columns, which is what a terminal has that does not say.
    table = Table(title=escape(title), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:  # an empty heading is that of scores, which stay whole; long names of runs may break
        table.add_column(name, no_wrap=not name, overflow="fold", min_width=8 if name else None)
    for heading in ("score", "95 %\ninterval", *(heading for heading, _ in REFERENCES), "n", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        number(row["score"]),
        _interval(row["low"], row["high"]),
        *(number(row.get(field)) for _, field in REFERENCES),
        f"{row['n']}/{row['n_expected']}",
        f"{row['seconds']:.0f}",
    ]


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or math.isnan(low) else f"{number(low)}–{number(high)}"


def number(value: float | None, missing: str = "-") -> str:
    """A score as people read it: three digits, one where it is 10 or more; ``missing`` for none or NaN."""
    if value is None or math.isnan(value):
        return missing
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
