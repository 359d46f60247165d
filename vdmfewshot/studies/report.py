"""What a study has found, for a terminal: without any heavy library, so that a finished study reports at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from vdmfewshot.callbacks.table import runs_table
from vdmfewshot.storage.documents import read_object
from vdmfewshot.studies.store import Failure, Store
from vdmfewshot.studies.units import Manifest, describe, hashed

SUMMARY = "summary.json"
#: failures that are printed with their reasons
SHOWN = 10


def fingerprint(manifest: Manifest, finished: Mapping[str, Mapping[str, Any]]) -> str:
    """Name of a set of results: a summary of these and no others is up to date."""
    return hashed(
        [unit.id for unit in manifest.units], sorted((unit, facts["files"]) for unit, facts in finished.items())
    )


def read_summary(manifest: Manifest, store: Store, finished: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The summary on disk, if it is of just these results."""
    try:
        summary = read_object(store.folder / SUMMARY, {"results": str}, "run the report again")
    except (OSError, ValueError):
        return None
    return summary if summary.get("results") == fingerprint(manifest, finished) else None


def reasons(
    manifest: Manifest, finished: Mapping[str, Any], failures: Mapping[str, Failure]
) -> dict[str, dict[str, str]]:
    """Why units have no result: kind and reason by label."""
    missing = [unit for unit in manifest.units if unit.id not in finished]
    found = {}
    for unit in missing:
        failure = failures.get(unit.id)
        reason = (failure.kind, failure.reason) if failure else ("", unit.problem or "not yet run")
        found[unit.label] = {"kind": reason[0], "reason": reason[1]}
    return found


def show(summary: Mapping[str, Any], name: str, console: Console, folder: Path) -> None:
    """The table of points, that of families, means over seeds, and what is missing."""
    rows = [(describe(point["point"]) or name, point["main"], main_row(point)) for point in summary["points"]]
    table = runs_table(rows)
    table.title = f"{name}: {summary['done']} of {summary['expected']} units"
    console.print(table)
    for point in summary["points"]:
        for kind, groups in (("family", point["families"]), ("task", point.get("tasks"))):
            if groups:
                console.print(group_table(point, kind, groups))
    for line in [*over_seeds(summary["points"]), *notes(summary, folder)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def main_row(point: Mapping[str, Any]) -> dict[str, Any]:
    """The main score of a point, with the seconds of training and scoring."""
    row = point["scores"][point["main"]]
    return {**row, "seconds": point["fit_seconds"] + row["seconds"]}


def group_table(point: Mapping[str, Any], kind: str, groups: Mapping[str, Any]) -> Table:
    """One line for each family of tasks, or task: the ways to count a task as passed, or the main score."""
    main = point["main"]
    names = [name for name in point["scores"] if name.startswith("pass@")] or [main]
    table = Table(title=describe(point["point"]), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(kind, overflow="fold")
    for heading in (*names, "ceiling", "copy input", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, scores in {**groups, "all": point["scores"]}.items():
        row = scores[main]
        cells = [scores[score]["score"] for score in names] + [row.get("ceiling"), row.get("copy_input")]
        table.add_row(name or "-", *map(number, cells), f"{row['n']}/{row['n_expected']}")
    return table


def over_seeds(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """``shots=3: pass@2 0.250, 0.200 to 0.300 over 3 seeds`` for points that differ in seeds alone."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for point in points:
        rest = {axis: value for axis, value in point["point"].items() if "seed" not in axis}
        groups.setdefault(f"{describe(rest)}: {point['main']}".removeprefix(": "), []).append(point)
    lines = []
    for label, same in groups.items():
        values = [v for point in same if (v := point["scores"][point["main"]]["score"]) is not None]
        if len(values) > 1:
            lines.append(
                f"{label} {fmean(values):.3f}, {min(values):.3f} to {max(values):.3f} over {len(values)} seeds"
            )
    return lines


def notes(summary: Mapping[str, Any], folder: Path) -> list[str]:
    """What is missing and why, and where everything is."""
    missing = summary["missing"]
    lines = []
    if missing:
        lines.append(
            f"{len(missing)} of {summary['expected']} units have no result and count as failures; "
            "ceiling and baselines are of the others"
        )
        shown = list(missing.items())[:SHOWN]
        lines += [f"  {label}: {why['kind'] + ': ' if why['kind'] else ''}{why['reason']}" for label, why in shown]
        lines += [f"  and {len(missing) - SHOWN} more" for _ in [0] if len(missing) > SHOWN]
    return [*lines, f"{summary['hours']:.2f} h of work; {folder / SUMMARY}"]


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return "-" if value is None else f"{value:.3f}"
