from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vdmfewshot.cli.command import main
from vdmfewshot.cli.report import read_runs
from vdmfewshot.storage.errors import DamagedFileError


def write_scores(run: Path, step: int, score: float, fit_seconds: float = 100.0, **extra: Any) -> Path:
    row = {"score": score, "low": score - 0.1, "high": score + 0.1, "n": 9, "n_expected": 10, "ceiling": 0.97}
    row |= {"copy_input": 0.02, "mean_target": 0.21, "seconds": 11.4, **extra}
    other = {**row, "score": 0.111}
    content = {"task": "t", "main": "iou_dataset", "step": step, "fit_seconds": fit_seconds}
    file = run / "scores" / "test" / f"step={step}" / "scores.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({**content, "scores": {"dice": other, "iou_dataset": row}}))
    return file


def table(args: list[str], capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Words of the table's rows."""
    main(["report", *args])
    return [line.split() for line in capsys.readouterr().out.splitlines() if "version_" in line]


def test_one_row_a_run_with_what_the_score_is_worth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    write_scores(runs / "a" / "version_0", 200, 0.5)
    write_scores(runs / "b" / "version_3", 200, 0.25, low=None, high=None, ceiling=None)
    first, second = table([str(runs)], capsys)
    name = str(runs / "a" / "version_0")
    assert first == [name, "iou_dataset", "0.500", "0.400–0.600", "0.970", "0.020", "0.210", "9/10", "111"]
    assert second[2:5] == ["0.250", "-", "-"], "what is not known is a dash"


def test_a_run_counts_once_at_its_last_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "a" / "version_0"
    write_scores(run, 900, 0.3)
    write_scores(run, 1000, 0.4)
    (row,) = table([str(tmp_path), str(run), str(run.parent)], capsys)
    assert row[2] == "0.400"


def test_long_names_and_narrow_terminals_cost_no_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.chdir(tmp_path)
    write_scores(Path("runs") / ("long" * 10) / "version_0", 1, 0.5)
    (row,) = table(["runs"], capsys)
    assert row[0] == f"runs/{'long' * 10}/version_0"
    assert row[-2:] == ["9/10", "111"]


def test_in_a_terminal_the_table_fits_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """rich takes FORCE_COLOR for a terminal."""
    monkeypatch.chdir(tmp_path)
    write_scores(Path("runs/of-a-long-name") / "version_0", 1, 0.5)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["report", "runs"])
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert {"9/10", "111", "0.500"} <= set(words)
    assert "…" not in "".join(lines)


def test_validation_scores_are_not_test_scores(tmp_path: Path) -> None:
    file = write_scores(tmp_path / "a" / "version_0", 1, 0.5)
    (tmp_path / "a" / "version_0" / "scores" / "test").rename(tmp_path / "a" / "version_0" / "scores" / "val")
    assert not file.exists()
    assert read_runs(tmp_path) == []


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_nothing_to_report_is_an_error(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path / folder)])
    assert stop.value.code == 2
    assert ("no such folder" if folder == "missing" else "no test scores below") in capsys.readouterr().err


HEAD = '{"main": "iou", "fit_seconds": 1, "scores": '
DAMAGED = [
    "",
    "{",
    "[]",
    "{}",
    "[" * 200_000,
    HEAD + "NaN}",
    HEAD + "[]}",
    HEAD + "{}}",
    HEAD + '{"iou": {"score": "x"}}}',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_named_and_costs_its_own_run_alone(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_scores(tmp_path / "a" / "version_0", 1, 0.5)
    write_scores(tmp_path / "b" / "version_0", 1, 0.25)
    file.write_text(content)
    with pytest.raises(DamagedFileError, match=r"a/version_0/.*/step=1/scores\.json .*; run the test again"):
        main(["report", str(tmp_path)])
    assert "0.250" in capsys.readouterr().out


def test_folders_of_other_names_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_scores(tmp_path / "a" / "version_0", 1, 0.5)
    file.parent.with_name("step=abc").mkdir()
    (file.parent.with_name("step=abc") / "scores.json").write_text(file.read_text())
    assert len(table([str(tmp_path)], capsys)) == 1


def test_names_are_text_and_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scores(tmp_path / "[" / "x] [red]" / "version_0", 1, 0.5)
    main(["report", str(tmp_path)])
    assert "[/x] [red]/version_0" in capsys.readouterr().out
