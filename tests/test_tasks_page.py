"""The page of all tasks says what its data say, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import table_tasks
from vdmfewshot.data.generated.board_tasks import BOARDS
from vdmfewshot.data.generated.picture_tasks import PICTURES


def test_the_tables_are_those_of_the_data() -> None:
    text = table_tasks.PAGE.read_text(encoding="utf-8")
    assert table_tasks.page(text) == text, "run python -m scripts.table_tasks"
    for content in table_tasks.tables().values():
        assert content in text


def test_every_task_has_a_row_and_every_row_a_task() -> None:
    published = table_tasks.read("published.jsonl")
    assert {row["task"] for row in published if "exact" in row} == {*BOARDS}
    assert {row["task"] for row in published} == {*BOARDS, *PICTURES}
    assert {row["task"] for row in table_tasks.read("rows.jsonl")} <= {*BOARDS, *PICTURES}
    experiments = Path(__file__).parents[1] / "experiments"
    for row in published:
        assert (experiments / "tasks" / f"{row['task']}.yaml").is_file()
        assert f"(`tasks/{row['task']}`)" in table_tasks.PAGE.read_text(encoding="utf-8")


def test_scores_are_what_their_metrics_can_say() -> None:
    for row in table_tasks.read("rows.jsonl"):
        for name, score in row["scores"].items():
            if score["score"] is None:
                assert name == "rpl", "the length of a path that nobody drew"
                continue
            assert name.endswith(("_db", "_deg")) or 0 <= score["score"] <= 1
            if score.get("low") is not None:
                assert score["low"] <= score["score"] <= score["high"]


def test_what_a_study_found_replaces_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files as ``vdmfewshot study`` leaves them."""
    place = tmp_path / "units" / "ab" / "abcd"
    place.mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "c.yaml").write_text("data: {init_args: {task: life, shots: 30, batch_size: 4}}")
    found = {"score": 0.5, "low": 0.3, "high": 0.7, "n": 32, "ceiling": 1.0, "copy_input": 0.1, "seconds": 1.0}
    scores = {"main": "pass@1", "step": 200, "scores": {"pass@1": found, "cell_accuracy": found}}
    (place / "scores.json").write_text(json.dumps(scores))
    (place / "unit.json").write_text(json.dumps({"task": "life", "config": "c", "point": {}, "data": {}, "stack": 1}))
    assert list(table_tasks.collect(tmp_path)) == [], "without DONE there is no result"
    (place / "DONE").write_text("{}")
    (row,) = table_tasks.collect(tmp_path)
    assert (row["shots"], row["steps"], row["batch_size"], row["queries"], row["note"]) == (30, 200, 4, 32, "")
    rows = table_tasks.merged(table_tasks.read("rows.jsonl"), [row])
    assert [r for r in rows if r["task"] == "life" and r["shots"] == 30] == [row]
    other = {"published.jsonl": table_tasks.read("published.jsonl"), "rows.jsonl": rows}
    monkeypatch.setattr(table_tasks, "read", other.__getitem__)
    line = "| Life (`tasks/life`) | 30 | 0.96 | 0.50 (0.30–0.70) | 0.50 | 0.10 | 200 x 4; 32 |\n"
    assert line in table_tasks.tables()["boards"]
