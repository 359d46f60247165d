"""Scores of a study, from the records of its results alone; every planned unit is in the denominator."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from vdmfewshot.callbacks.task_scores import Evaluated
from vdmfewshot.data.examples import safe_key
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.records import SAMPLES, publish, to_json, write_atomically
from vdmfewshot.storage.documents import parse_json
from vdmfewshot.studies.report import SUMMARY, fingerprint, reasons
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest, Unit, describe

#: a fresh metric of a unit's task
MakeMetric = Callable[[Unit], TaskMetric]


def summarize(manifest: Manifest, store: Store, make_metric: MakeMetric) -> dict[str, Any]:
    """Pool the results of every point over its tasks, and write ``summary.json``.

    Args:
        manifest: all units.
        store: of the results; damaged ones are set aside and count as missing.
        make_metric: of a unit's task.

    Returns:
        what ``vdmfewshot.studies.report`` shows.
    """
    finished = store.finished(manifest.by_id)
    for damaged in [unit for unit in finished if not store.intact(unit)]:
        store.set_aside(damaged)
        del finished[damaged]
    points: dict[str, list[Unit]] = {}
    for unit in manifest.units:
        points.setdefault(json.dumps([unit.point, unit.main], sort_keys=True, default=str), []).append(unit)
    rows = []
    for units in points.values():
        parts = {unit.task: part(unit, store, finished) for unit in units}
        whole, metric = Evaluated.pool(parts), make_metric(next((u for u in units if u.id in finished), units[0]))
        rows.append(row_of(units, parts, whole, finished, metric))
        publish_point(rows[-1], store.folder, whole, metric, units[0])
    content = {
        "results": fingerprint(manifest, finished),
        "expected": len(manifest.units),
        "done": len(finished),
        "points": rows,
        "tasks": tasks_of(manifest, finished),
        "missing": reasons(manifest, finished, store.failures()),
        "hours": sum(facts["seconds"] for facts in finished.values()) / 3600,
        "cpu_hours": sum(facts["cpu_seconds"] for facts in finished.values()) / 3600,
    }
    summary: dict[str, Any] = parse_json(to_json(content))
    write_atomically(store.folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    return summary


def row_of(
    units: Sequence[Unit],
    parts: Mapping[str, Evaluated],
    whole: Evaluated,
    finished: Mapping[str, Mapping[str, Any]],
    metric: TaskMetric,
) -> dict[str, Any]:
    """Scores of one point: over all tasks (``whole``), and over those of each family, from ``parts`` by task."""
    families: dict[str, dict[str, Evaluated]] = {}
    for unit in units:
        families.setdefault(unit.family, {})[unit.task] = parts[unit.task]
    mine = [finished[unit.id] for unit in units if unit.id in finished]
    seconds = sum(facts["seconds"] for facts in mine)
    return {
        "point": units[0].point,
        "main": metric.main,
        "expected": len(units),
        "done": len(mine),
        "solved": [unit.task for unit in units if unit.id in finished and finished[unit.id]["score"] == 1],
        "step": max((facts["step"] for facts in mine), default=0),
        "fit_seconds": sum(facts["fit_seconds"] for facts in mine),
        "scores": whole.rows(metric, seconds),
        "families": {
            name: Evaluated.pool(some).rows(metric, 0.0) for name, some in families.items() if len(families) > 1
        },
    }


def publish_point(point: Mapping[str, Any], folder: Path, found: Evaluated, metric: TaskMetric, unit: Unit) -> None:
    """Scores, records and settings of a point where ``vdmfewshot report`` finds those of runs."""
    name = safe_key(describe(point["point"]) or "all") + f"-{safe_key(point['main'])}"
    head = {"task": f"{point['expected']} tasks", **{key: point[key] for key in ("main", "step", "fit_seconds")}}
    run = folder / "points" / name
    place = run / "scores" / "test" / f"step={point['step']}"
    found.publish(place, head, point["scores"])
    publish(place, found.samples(metric), SAMPLES)
    config = folder / "configs" / f"{unit.config}.yaml"
    if config.is_file():
        write_atomically(run / "config.yaml", config.read_text(encoding="utf-8"))


def part(unit: Unit, store: Store, finished: Mapping[str, Any]) -> Evaluated:
    """What has been found of a unit: without a result, nothing of what is expected."""
    if unit.id not in finished:
        return Evaluated([], [dict(record) for record in unit.expected], {})
    return Evaluated.read(store.place(unit.id))


def tasks_of(manifest: Manifest, finished: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Mean score of every task that has results, over its points."""
    scores: dict[str, list[float]] = {}
    for unit in manifest.units:
        if unit.id in finished and finished[unit.id]["score"] is not None:
            scores.setdefault(unit.task, []).append(finished[unit.id]["score"])
    return {task: fmean(values) for task, values in scores.items()}


def write_table(summary: Mapping[str, Any], folder: Path) -> None:
    """``table.csv``: one line for each point and score."""
    import pandas as pd

    rows = [
        {**point["point"], "family": family, "score": name, "value": row.pop("score"), **row}
        for point in summary["points"]
        for family, scores in [("", point["scores"]), *point["families"].items()]
        for name, row in ((name, dict(row)) for name, row in scores.items())
    ]
    write_atomically(folder / "table.csv", pd.DataFrame(rows).to_csv(index=False))
