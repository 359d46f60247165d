"""One table of scores for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

#: columns after the interval: heading and field of ``scores.json``
REFERENCES = (("ceiling", "ceiling"), ("copy\ninput", "copy_input"), ("mean\ntarget", "mean_target"))


def score_table(title: str, scores: Mapping[str, Mapping[str, Any]], main: str | None = None) -> Table:
    """Scores with their 95 % intervals beside the encoding ceiling and the trivial baselines.

    Args:
        title: above the table.
        scores: by name, each with the fields of ``scores.json``.
        main: the row to stress, shown first.
    """
    # Narrow enough for 80 columns, which is what a terminal has that does not say.
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("score", "95 %\ninterval", *(heading for heading, _ in REFERENCES), "n", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in sorted(scores, key=lambda name: name != main):
        row = scores[name]
        table.add_row(
            name,
            _number(row["score"]),
            _interval(row["low"], row["high"]),
            *(_number(row.get(field)) for _, field in REFERENCES),
            f"{row['n']}/{row['n_expected']}",
            f"{row['seconds']:.0f}",
            style="bold" if name == main else None,
        )
    return table


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or math.isnan(low) else f"{_number(low)}–{_number(high)}"


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
