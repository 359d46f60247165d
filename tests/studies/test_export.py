"""What leaves a study: every unit is in the table, every task in the submission."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.studies.test_engine import make_engine

SCRIPT = {"a/t0": {}, "a/t1": {"fail": "no such thing"}, "b/t2": {"score": 0}}


def test_the_table_has_one_row_a_unit_and_says_why_there_is_no_score(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    engine = make_engine(tmp_path, SCRIPT, axes={"shots": [1, 3]})
    engine.run()
    for name in ("results.parquet", "results.csv"):
        engine.write("export", tmp_path / name, {})
    frame = pd.read_parquet(tmp_path / "results.parquet")
    assert len(frame) == len(pd.read_csv(tmp_path / "results.csv")) == 6
    assert frame[["task", "family", "shots", "status"]].values.tolist()[:2] == [
        ["a/t0", "a", 1, "done"],
        ["a/t1", "a", 1, "failed"],
    ]
    assert frame.set_index(["task", "shots"]).loc[("a/t1", 3), "reason"] == "ValueError: no such thing"
    assert frame["score"].dropna().tolist() == [1, 0, 1, 0]
    with pytest.raises(ValueError, match=r"export writes .parquet or .csv, got results.xlsx"):
        engine.write("export", tmp_path / "results.xlsx", {})


def test_a_submission_names_all_tasks_with_two_attempts_for_each_input(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, SCRIPT, axes={"shots": [1, 3]})
    engine.run()
    with pytest.raises(ValueError, match="a submission is of one point, got 2: choose with --where"):
        engine.write("submission", None, {})
    engine.write("submission", None, {"shots": 3})
    answers = json.loads((engine.study.folder / "submission.json").read_text())
    assert answers == {
        "t0": [{"attempt_1": [[1]], "attempt_2": [[1]]}],
        "t1": [{"attempt_1": [[0]], "attempt_2": [[0]]}],
        "t2": [{"attempt_1": [[1]], "attempt_2": [[1]]}],
    }
