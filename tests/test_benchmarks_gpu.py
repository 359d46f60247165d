"""The GPU benchmark on a CPU, tiny: every part runs, what fails is a row, and a part that hangs is cut off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import card, gpu, gpu_part
from benchmarks.gpu_part import PEERS, PUBLISHED, Rows, train_cases
from benchmarks.models import MODELS, preset, random_checkpoint

ROOT = Path(__file__).parents[1]


def test_cards_are_known_by_words_of_their_names() -> None:
    names = {
        "NVIDIA H100 80GB HBM3": 989,
        "NVIDIA H100 PCIe": 756,
        "NVIDIA A100-SXM4-40GB": 312,
        "NVIDIA L4": 121,
        "NVIDIA L40S": 362,
        "NVIDIA GeForce RTX 4090": 165,
    }
    assert {name: card.peak_tflops(name) for name in names} == names
    assert card.peak_tflops("NVIDIA A1000") is None
    assert card.peak_tflops("cpu") is None
    assert card.share(100.0, 0.5, 400.0) == 0.5
    assert card.share(100.0, 0.5, None) is None


def test_time_goes_to_the_parts_that_are_left_by_their_weights() -> None:
    parts = {"a": 3.0, "b": 1.0, "c": 2.0}
    assert gpu.time_for("a", 60, parts) == 30
    assert gpu.time_for("b", 60, parts) == 20
    assert gpu.time_for("c", 60, parts) == 60, "what others did not use"


def test_rows_are_compared_with_peers_of_the_same_model_and_shape() -> None:
    same = {"model": "m", "shape": "9x8x8", "phase": "train"}
    rows = [
        {**same, "case": PEERS, "seconds": 4.0, "tflop": 100.0},
        {**same, "case": "ours", "seconds": 1.0, "tflop": 100.0},
        {**same, "case": "broken", "error": "OutOfMemoryError: "},
        {**same, "shape": "9x16x16", "case": "alone", "seconds": 1.0},
        {**same, "phase": "predict", "case": PUBLISHED, "seconds": 9.0},
        {"phase": "stack", "case": "K = 4", "seconds": 1.0, "times_faster": 3.0},
    ]
    found = gpu.with_ratios(rows, peak=400.0, matmul=200.0)
    assert [row.get("times_faster") for row in found] == [1.0, 4.0, None, None, 1.0, 3.0]
    assert found[1]["mfu"] == 0.25
    assert found[1]["of_matmul"] == 0.5
    assert found[2] == rows[2]


def test_a_case_that_fails_is_a_row_and_the_next_goes_on(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.json", 60)

    def broken() -> dict[str, Any]:
        raise torch.OutOfMemoryError("CUDA out of memory.\nlong story")

    rows.add({"case": "a"}, broken)
    assert json.loads(rows.file.read_text()) == [{"case": "a", "error": "OutOfMemoryError: CUDA out of memory."}]
    rows.add({"case": "b"}, lambda: {"seconds": 1.0})
    rows.add({"case": "c"}, lambda: {"seconds": 1.0}, needs=1000)
    stored = json.loads(rows.file.read_text())
    assert stored[1] == {"case": "b", "seconds": 1.0}
    assert stored[2]["error"].startswith("not begun")


def test_parts_that_hang_or_break_leave_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "GRACE", 1.0)
    arguments = gpu.parser().parse_args(["--tiny"])
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho \'[{"case": "first", "phase": "train"}]\' > "$4"\nexec sleep 60\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    code = gpu.run_part("stack", tmp_path / "rows.json", 1.0, arguments)
    assert code is None
    rows = gpu.read_rows(tmp_path / "rows.json", "stack", code)
    assert [row["case"] for row in rows] == ["first", "stack"]
    assert "cut off" in rows[1]["error"]
    assert gpu.read_rows(tmp_path / "none.json", "stack", 137)[0]["error"] == "ended with status 137"


def test_what_peers_do_comes_first_and_the_compiler_last() -> None:
    first, rest = train_cases((9, 480, 704), (9, 704, 1280))
    assert (first[0].name, first[0].cached, first[0].memory.checkpointing) == (PEERS, False, "full")
    assert all(case.cached for case in [*first[1:], *rest] if case.name != PEERS)
    assert rest[-1].compiled
    assert {case.card for case in rest} == {None, 24, 48}


@pytest.mark.parametrize("name", [part for part in gpu.PARTS if part != "stack"])
def test_every_model_has_a_rehearsal_in_its_own_classes(name: str) -> None:
    backbone = preset(MODELS / f"{name}.yaml").backbone
    backbone.checkpoint = random_checkpoint(backbone, name, tiny=True)
    backbone.dtype = torch.float32
    backbone.check_clip(*gpu_part.TINY)
    backbone.load()
    assert sum(p.numel() for p in backbone.parameters()) < 1e6
    assert torch.isfinite(backbone.probe()).all()


@pytest.mark.slow
def test_the_rehearsal_measures_everything(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "OUT": str(tmp_path)}
    command = [str(ROOT / "benchmarks/gpu.sh"), "--device", "cpu", "--tiny", "--seconds", "1500"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    content = json.loads((tmp_path / "gpu_cpu.json").read_text())
    assert content["card"] == "cpu"
    assert [row for row in content["rows"] if "error" in row] == [], done.stdout
    assert len(content["rows"]) == 4 * 12 + 3
