"""Scores of a study, from the records of its results alone; every planned unit is in the denominator."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from statistics import fmean
from typing import Any

from vdmfewshot.callbacks.task_scores import Evaluated
from vdmfewshot.data.examples import safe_key
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.records import SAMPLES, publish, to_json, write_atomically
from vdmfewshot.storage.documents import parse_json
from vdmfewshot.studies.report import SUMMARY, fingerprint, reasons
from vdmfewshot.studies.store import PICTURES, Store
from vdmfewshot.studies.units import Manifest, Unit, describe

#: tasks of one point that are listed one by one
LISTED = 100
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
        if len(points) == 1 and not rows[-1]["families"] and 1 < len(parts) <= LISTED:
            rows[-1]["tasks"] = {task: found.rows(metric, 0.0) for task, found in parts.items()}
        publish_point(rows[-1], store, whole, metric, units, finished)
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
    seconds, fit_seconds = (sum(facts[name] for facts in mine) for name in ("seconds", "fit_seconds"))
    fit_seconds = min(fit_seconds, seconds)  # results of earlier versions have those of their whole stack
    return {
        "point": units[0].point,
        "main": metric.main,
        "expected": len(units),
        "done": len(mine),
        "solved": [unit.task for unit in units if unit.id in finished and finished[unit.id]["score"] == 1],
        "step": max((facts["step"] for facts in mine), default=0),
        "fit_seconds": fit_seconds,
        "scores": whole.rows(metric, seconds - fit_seconds),  # as of a run: of the scoring
        "families": {
            name: Evaluated.pool(some).rows(metric, 0.0) for name, some in families.items() if len(families) > 1
        },
    }


def publish_units(manifest: Manifest, store: Store, make_metric: MakeMetric) -> None:
    """Every finished unit where ``vdmfewshot report`` finds runs, where points are not pooled over tasks."""
    finished = store.finished(manifest.by_id)
    metrics: dict[str, TaskMetric] = {}
    for unit in manifest.units:
        if unit.id not in finished or not store.intact(unit.id):
            continue
        if unit.task not in metrics:
            metrics[unit.task] = make_metric(unit)  # reads the task
        found, metric = part(unit, store, finished), deepcopy(metrics[unit.task])
        row = row_of([unit], {unit.task: found}, found, finished, metric)
        publish_point({**row, "point": {"task": unit.task, **unit.point}}, store, found, metric, [unit], finished)


def publish_point(
    point: Mapping[str, Any],
    store: Store,
    found: Evaluated,
    metric: TaskMetric,
    units: Sequence[Unit],
    finished: Mapping[str, Any],
) -> None:
    """Scores, records, settings and kept pictures of a point where ``vdmfewshot report`` finds those of runs."""
    name = safe_key(describe(point["point"]) or "all") + f"-{safe_key(point['main'])}"
    task = units[0].task if len(units) == 1 else f"{point['expected']} tasks"
    head = {"task": task, **{key: point[key] for key in ("main", "step", "fit_seconds")}}
    run, step = store.folder / "points" / name, f"step={point['step']}"
    place = run / "scores" / "test" / step
    found.publish(place, head, point["scores"])
    publish(place, found.samples(metric), SAMPLES)
    config = store.folder / "configs" / f"{units[0].config}.yaml"
    if config.is_file():
        write_atomically(run / "config.yaml", config.read_text(encoding="utf-8"))
    for unit in units:
        if unit.id in finished:
            publish_pictures(store.place(unit.id), run / "pictures" / "test" / step, unit)


def publish_pictures(result: Path, folder: Path, unit: Unit) -> None:
    """Pictures of a unit, if they were kept, beside those of the other tasks of its point."""
    place = folder / unit.task
    inside = place.resolve().is_relative_to(folder.resolve())  # whatever the task is called
    if inside and (result / PICTURES).is_dir():
        shutil.copytree(result / PICTURES, place, dirs_exist_ok=True)


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


def groups_of(point: Mapping[str, Any]) -> Iterator[tuple[dict[str, str], Mapping[str, Any]]]:
    """Scores of a point, of each of its families, and of each of its tasks."""
    yield {}, point["scores"]
    for kind, groups in (("family", point["families"]), ("task", point.get("tasks", {}))):
        yield from (({kind: name}, scores) for name, scores in groups.items())


def write_table(summary: Mapping[str, Any], folder: Path) -> None:
    """``table.csv``: one line for each score of a point, of its families, and of its tasks if they are listed."""
    import pandas as pd

    rows = [
        {**point["point"], "family": "", "task": "", **group, "score": name, "value": row.pop("score"), **row}
        for point in summary["points"]
        for group, scores in groups_of(point)
        for name, row in ((name, dict(row)) for name, row in scores.items())
    ]
    write_atomically(folder / "table.csv", pd.DataFrame(rows).to_csv(index=False))
