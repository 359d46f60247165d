"""The figure: score against n, one panel a task, with bands, trivial answers and the ceiling."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from vdmfewshot.callbacks.references import CEILING
from vdmfewshot.studies.evidence.settings import METHODS
from vdmfewshot.studies.evidence.summary import Entry, Summary
from vdmfewshot.studies.evidence.table import SCORES, TITLES

COLUMNS = 5
#: colours that people with any colour vision tell apart (Okabe and Ito)
COLORS = {"pretrained": "#0072B2", "random": "#D55E00", "scratch": "#009E73"}
DASHES: dict[str, tuple[str, str]] = {
    CEILING: ("black", "--"),
    "copy_input": ("#777777", "--"),
    "mean_target": ("#999999", ":"),
}


def write_figure(summary: Summary, folder: Path) -> None:
    """Write ``figure.png`` and ``figure.svg``: the main score of every task."""
    from matplotlib.figure import Figure  # half a second that only this verb spends

    panels = summary.main
    columns = min(COLUMNS, max(1, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    figure = Figure(figsize=(2.7 * columns, 2.3 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, (row, title, score) in zip(axes.flat, panels, strict=False):
        draw_panel(axis, summary, row, score)
        axis.set_title(title, fontsize=9)
        axis.set_ylabel(SCORES[score], fontsize=8)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    lines = [line for axis in axes.flat for line in axis.get_lines()]
    entries = {name: line for line in lines if (name := str(line.get_label())) in TITLES.values()}
    if entries:
        fitting = min(len(entries), max(1, round(1.4 * columns)))
        names = (entries.values(), entries.keys())
        figure.legend(*names, loc="outside upper center", ncols=fitting, fontsize=8, frameon=False)
    figure.supxlabel("n, pairs in the support set", fontsize=9)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "figure.png", dpi=150)
    # Without a date, equal results give equal files.
    figure.savefig(folder / "figure.svg", metadata={"Date": None})


def draw_panel(axis: Any, summary: Summary, row: str, score: str) -> None:
    """Draw one task: lines with bands for what was trained, dashes for what was not."""
    shots = summary.shots(row, score)
    for name, (color, dash) in DASHES.items():
        if name == CEILING:
            ceiling = summary.find(row, score, name, 0)
            levels = [] if ceiling is None else [ceiling] * len(shots)
        else:
            levels = [entry for n in shots if (entry := summary.find(row, score, name, n))]
        _line(axis, shots, levels, name, color, dash)
    for name in METHODS:
        entries = [entry for n in shots if (entry := summary.find(row, score, name, n))]
        _line(axis, [entry.shots for entry in entries], entries, name, COLORS[name], "-")
    axis.set_xscale("log", base=2)
    axis.set_xticks(shots, [str(n) for n in shots], fontsize=8)
    axis.minorticks_off()
    axis.tick_params(axis="y", labelsize=8)
    axis.margins(x=0.08)
    axis.spines[["top", "right"]].set_visible(False)


def _line(axis: Any, shots: list[int], entries: list[Entry], name: str, color: str, dash: str) -> None:
    """A line over n; a band where there is one, as a bar where there is a single n."""
    if len(entries) != len(shots) or not entries:
        return
    mean = [entry.mean for entry in entries]
    if len(shots) == 1 and name in DASHES:
        axis.axhline(mean[0], color=color, linestyle=dash, linewidth=1, label=TITLES[name])
        return
    marker = "" if name in DASHES else "o"
    axis.plot(shots, mean, color=color, linestyle=dash, linewidth=1.3, marker=marker, markersize=3, label=TITLES[name])
    if name in DASHES or any(math.isnan(entry.low) for entry in entries):
        return
    low, high = [entry.low for entry in entries], [entry.high for entry in entries]
    if len(shots) == 1:
        axis.errorbar(shots, mean, [[mean[0] - low[0]], [high[0] - mean[0]]], color=color, capsize=2)
    else:
        axis.fill_between(shots, low, high, color=color, alpha=0.2, linewidth=0)
