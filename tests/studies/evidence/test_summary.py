"""Table and figure from synthetic results."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from vdmfewshot.data.evidence import choose_tasks
from vdmfewshot.studies.evidence.figure import draw_panel, write_figure
from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.evidence.summary import Summary, band, summarize
from vdmfewshot.studies.evidence.table import markdown, verdict, write_table

SHOTS = (1, 3, 5, 10, 30)


def results(levels: dict[str, float], task: str = "zoom", spread: float = 0.1, seeds: int = 5) -> list[dict[str, Any]]:
    """Results whose main score is ``level + log2(n)``, with an alternating spread over seeds."""
    rows: list[dict[str, Any]] = []
    for n in SHOTS:
        for seed in range(seeds):
            shared = {"task": task, "shots": n, "seed": seed, "seconds": 1.0}
            for method, level in levels.items():
                value = level + math.log2(n) + spread * (-1) ** seed
                rows.append({**shared, "method": method, "scores": {"psnr_db": value, "ssim": value / 100}})
            trivial = {"copy_input": {"psnr_db": 12.0, "ssim": 0.1}, "mean_target": {"psnr_db": 9.0, "ssim": 0.1}}
            rows.append({**shared, "method": "baselines", "scores": trivial})
    ceiling = {"ceiling": {"psnr_db": 28.0, "ssim": 0.9}}
    return [*rows, {"task": task, "shots": 1, "seed": 0, "seconds": 1.0, "method": "ceiling", "scores": ceiling}]


def summary(*parts: list[dict[str, Any]], tasks: tuple[str, ...] = ("zoom",)) -> Summary:
    rows = [row for part in parts for row in part]
    return summarize(choose_tasks(list(tasks)), Settings(), rows, len(rows))


CLEAR = {"pretrained": 15.0, "random": 8.0, "scratch": 11.0}


def test_means_and_bands() -> None:
    mean, low, high = band([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3
    np.testing.assert_allclose([low, high], [3 - 1.96324, 3 + 1.96324], atol=1e-4)  # t of 4 degrees: 2.776445
    assert band([0.0] * 59 + [1.0], over_tasks=True)[1] > 0, "never below 0"
    assert band([2.0])[0] == 2
    assert math.isnan(band([2.0])[1])


def test_entries_hold_every_number() -> None:
    found = summary(results(CLEAR))
    entry = found.find("zoom", "psnr_db", "scratch", 10)
    assert entry is not None
    assert entry.units == 5
    assert entry.mean == pytest.approx(11 + math.log2(10) + 0.02)
    assert entry.low < entry.mean < entry.high
    assert found.find("zoom", "psnr_db", "ceiling", 0).mean == 28  # type: ignore[union-attr]
    assert found.shots("zoom", "psnr_db") == list(SHOTS)
    assert found.main == [("zoom", "zoom in 2x", "psnr_db")]


def test_verdict_follows_the_bands() -> None:
    text = "\n".join(verdict(summary(results(CLEAR))))
    assert "on 1 of 1 tasks: zoom in 2x (n = 1, 3, 5, 10)." in text
    assert "No such difference: none." in text
    close = "\n".join(verdict(summary(results({"pretrained": 11.02, "random": 8.0, "scratch": 11.0}, spread=1.0))))
    assert "on 0 of 1 tasks: none." in close
    assert "No such difference: zoom in 2x." in close
    # One control below is not enough, and one support set has no band.
    assert "on 0 of 1" in verdict(summary(results({"pretrained": 15.0, "random": 8.0, "scratch": 16.0})))[0]
    assert "on 0 of 1" in verdict(summary(results(CLEAR, seeds=1)))[0]


def test_verdict_names_what_does_not_beat_trivial_answers() -> None:
    low = {method: level - 8 for method, level in CLEAR.items()}
    both = summary(results(CLEAR), results(low, task="edges"), tasks=("zoom", "edges"))
    assert verdict(both)[2].endswith("at any n ≤ 10: edges (Sobel).")


def test_verdict_claims_nothing_while_a_control_is_missing() -> None:
    unfinished = [r for r in results(CLEAR) if (r["method"], r["shots"]) not in {("scratch", 1), ("scratch", 10)}]
    assert "on 1 of 1 tasks: zoom in 2x (n = 3, 5)." in verdict(summary(unfinished))[0]


def test_verdict_claims_no_control_that_was_not_run() -> None:
    text = verdict(summary(results({"pretrained": 15.0, "random": 8.0})))[0]
    assert "random weights + LoRA" in text
    assert "scratch" not in text


def test_arc_is_one_row_over_tasks() -> None:
    tasks = choose_tasks(["arc"])[:3]
    rows = [
        {"task": task.name, "method": "pretrained", "shots": 3, "seed": seed, "seconds": 1.0,
         "scores": {"cell_accuracy": 0.2 * i + 0.1 * seed, "pass@1": float(i == 2)}}
        for i, task in enumerate(tasks) for seed in (0, 1)
    ]  # fmt: skip
    found = summarize(tasks, Settings(), rows, 6)
    entry = found.find("arc", "cell_accuracy", "pretrained", 3)
    assert entry is not None
    assert (entry.units, entry.mean) == (3, pytest.approx(0.25))
    assert found.find("arc", "pass@1", "pretrained", 3).mean == pytest.approx(1 / 3)  # type: ignore[union-attr]


def test_table_files_agree(tmp_path: Path) -> None:
    found = summary(results(CLEAR))
    write_table(found, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert text == markdown(found)
    assert (
        "| zoom in 2x | PSNR, dB | 1 | **15.0 [14.9, 15.2]** | 8.0 [7.9, 8.2] | 11.0 [10.9, 11.2] | 12.0 | 9.0 | 28.0 |"
        in text
    )
    with (tmp_path / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    entries = json.loads((tmp_path / "table.json").read_text())["entries"]
    assert [float(row["mean"]) for row in rows] == [entry["mean"] for entry in entries]
    assert len(rows) == len(found.entries)


def test_incomplete_tables_say_so() -> None:
    rows = results(CLEAR)[:-10]
    assert f"{len(rows)} of 200 results" in markdown(summarize(choose_tasks(["zoom"]), Settings(), rows, 200))


def test_panels_draw_the_numbers() -> None:
    found = summary(results(CLEAR))
    axis = Figure().subplots()
    draw_panel(axis, found, "zoom", "psnr_db")
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert axis.get_xscale() == "log"
    np.testing.assert_allclose(lines["pretrained + LoRA"].get_xdata(), SHOTS)
    expected = [found.find("zoom", "psnr_db", "pretrained", n).mean for n in SHOTS]  # type: ignore[union-attr]
    np.testing.assert_allclose(lines["pretrained + LoRA"].get_ydata(), expected)
    assert {"ceiling", "copy input", "mean target"} <= set(lines)
    assert all(lines[name].get_linestyle() != "-" for name in ("ceiling", "copy input", "mean target"))
    assert len(axis.collections) == 3, "a band for each method"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "3", "5", "10", "30"]


def test_figures_are_written_and_repeat(tmp_path: Path) -> None:
    found = summary(results(CLEAR))
    write_figure(found, tmp_path / "a")
    write_figure(found, tmp_path / "b")
    assert (tmp_path / "a/figure.png").stat().st_size > 10_000
    assert "<svg" in (tmp_path / "a/figure.svg").read_text()
    assert (tmp_path / "a/figure.png").read_bytes() == (tmp_path / "b/figure.png").read_bytes()
    write_figure(summarize(choose_tasks(["zoom"]), Settings(), [], 5), tmp_path / "empty")
    assert (tmp_path / "empty/figure.png").exists()
