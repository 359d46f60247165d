"""What leaves a study: a table with one row a unit, and the answers in the form of the ARC Prize."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vdmfewshot.storage.atomic import replacing
from vdmfewshot.storage.documents import parse_json, read_object
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest, Unit, describe

#: what stands for an answer that there is not: a submission without one is refused
NO_ANSWER = [[0]]


def rows_of(manifest: Manifest, store: Store) -> list[dict[str, Any]]:
    """One row a unit, failed and missing ones too: id, task, axes, status, reason, all scores, seconds."""
    finished, failures = store.finished(manifest.by_id), store.failures()
    rows = []
    for unit in manifest.units:
        facts, failure = finished.get(unit.id), failures.get(unit.id)
        row: dict[str, Any] = {"unit": unit.id, "task": unit.task, "family": unit.family, **unit.point}
        row["status"] = "done" if facts else "failed" if failure or unit.problem else "missing"
        row["reason"] = "" if facts else failure.reason if failure else unit.problem
        row |= {"main": unit.main, "score": None, "seconds": None}
        if facts is not None:
            row |= {"score": facts["score"], "seconds": facts["seconds"], **scores_of(store, unit)}
        rows.append(row)
    return rows


def scores_of(store: Store, unit: Unit) -> dict[str, Any]:
    """All scores of a result, and the ceiling of the main one."""
    content = read_object(store.place(unit.id) / "scores.json", {"scores": dict}, "run the study again")
    rows: Mapping[str, Mapping[str, Any]] = content["scores"]
    references = {f"{name}_{unit.main}": rows[unit.main].get(name) for name in ("ceiling", "copy_input", "mean_target")}
    return {**{name: row["score"] for name, row in rows.items()}, **references}


def export(manifest: Manifest, store: Store, file: Path) -> int:
    """Write the table as Parquet, or as CSV if the file is called so; returns the number of rows.

    Raises:
        ValueError: for another kind of file, or if Parquet needs a package that is missing.
    """
    import pandas as pd

    if file.suffix not in (".parquet", ".csv"):
        raise ValueError(f"export writes .parquet or .csv, got {file.name}")
    frame = pd.DataFrame(rows_of(manifest, store))
    with replacing(file) as draft:
        if file.suffix == ".csv":
            frame.to_csv(draft, index=False)
        else:
            _write_parquet(frame, draft)
    return len(frame)


def _write_parquet(frame: Any, draft: Path) -> None:
    mixed = {name: str for name in frame.columns if frame[name].dtype == object}
    try:
        frame.astype(mixed).to_parquet(draft, index=False)
    except ImportError as error:
        raise ValueError("Parquet needs pyarrow: pip install 'vdmfewshot[parquet]', or export to .csv") from error


def submission(manifest: Manifest, store: Store, file: Path, where: Mapping[str, Any]) -> int:
    """Write the answers of one point as the ARC Prize wants them: all task ids, two attempts for each test input.

    Args:
        manifest: all units.
        store: of the results.
        file: JSON.
        where: value of axes, to choose the point.

    Returns:
        number of tasks that have answers.

    Raises:
        ValueError: if ``where`` leaves more than one point, or these are no ARC tasks.
    """
    chosen = [unit for unit in manifest.units if all(str(unit.point.get(k)) == str(v) for k, v in where.items())]
    points = {describe(unit.point) for unit in chosen}
    if len(points) != 1:
        raise ValueError(
            f"a submission is of one point, got {len(points)}: choose with --where AXIS=VALUE; {points or ''}"
        )
    finished, answers = store.finished(unit.id for unit in chosen), {}
    for unit in chosen:
        keys = sorted((record["key"] for record in unit.expected), key=last_number)
        found = answers_of(store, unit) if unit.id in finished else {}
        answers[unit.task.rpartition("/")[2]] = [attempts(found.get(key, [])) for key in keys]
    with replacing(file) as draft:
        draft.write_text(json.dumps(answers), encoding="utf-8")
    return len(finished)


def answers_of(store: Store, unit: Unit) -> dict[str, list[Any]]:
    """Grids by key of the query, best first.

    Raises:
        ValueError: if the records have no answers.
    """
    lines = (store.place(unit.id) / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = [parse_json(line) for line in lines]
    if any("answers" not in record for record in records):
        raise ValueError(f"{unit.label} has no answers in the form of grids: a submission is of ARC tasks")
    return {record["key"]: record["answers"] for record in records}


def attempts(grids: list[Any]) -> dict[str, Any]:
    """The first two answers; the last one again, or a single black cell, where there are fewer."""
    padded = [*grids, *(grids[-1:] or [NO_ANSWER]) * 2]
    return {"attempt_1": padded[0], "attempt_2": padded[1]}


def last_number(key: str) -> tuple[int, str]:
    """Order of test inputs: ``t-test-10`` after ``t-test-9``."""
    tail = key.rpartition("-")[2]
    return (int(tail) if tail.isdigit() else -1, key)
