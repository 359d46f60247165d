"""Every benchmark script runs, small, and writes what it says; the choice of the default follows from the curve."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import vdmfewshot
from benchmarks import predict, stack, startup, step
from benchmarks.curve import TASKS, choose
from benchmarks.harness import hardware, installed, interleave, ratios
from benchmarks.models import PUBLISHED, RandomCheckpoint
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.cli.command import make_cli
from vdmfewshot.cli.resolved import ResolvedCLI
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics.records import recompute


def run(script: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> dict[str, Any]:
    name = script.__name__.rpartition(".")[2]
    monkeypatch.setattr(sys, "argv", [name, "--repeats", "1", "--output", str(folder), *args])
    script.main()
    (file,) = folder.glob("*.json")
    content: dict[str, Any] = json.loads(file.read_text())
    assert content["command"].startswith(f"python -m benchmarks.{name}")
    assert {"cpu", "torch", "diffusers", "vdmfewshot"} <= content["hardware"].keys()
    return content


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> str:
    file = tmp_path / "model.yaml"
    backbone = f"{{class_path: vdmfewshot.backbones.CogVideoX, init_args: {{path: {tiny}}}}}"
    file.write_text(f"class_path: vdmfewshot.training.module.FewShotModule\ninit_args: {{backbone: {backbone}}}\n")
    return str(file)


def test_training_steps(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("--backbone", model, "--shape", "9", "32", "32", "--batch", "2", "--bf16")
    content = run(step, tmp_path / "out", monkeypatch, *small)
    rows = {row["case"]: row for row in content["rows"]}
    assert rows.keys() == {
        step.BASELINE, "VAE each step", "cached, full checkpointing", "cached", "cached, no autocast"
    }  # fmt: skip
    assert rows[step.BASELINE]["times_faster"] == 1
    assert content["cache_gain"] > 1, "the VAE takes time"


def test_predictions(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("--backbone", model, "--shape", "9", "32", "32", "--queries", "2", "--steps", "1")
    rows = {row["case"]: row for row in run(predict, tmp_path / "out", monkeypatch, *small)["rows"]}
    assert {predict.BASELINE, "default", "default, not merged", "default, 5 frames", "1 steps"} <= rows.keys()
    assert rows["1 steps"]["times_faster"] > rows[predict.BASELINE]["times_faster"] == 1


def test_start_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, ...]] = []
    for name in ("process", "first_word"):
        monkeypatch.setattr(startup, name, lambda *command, **_: lambda: called.append(command))
    content = run(startup, tmp_path / "out", monkeypatch)
    assert next(row["case"] for row in content["rows"]) == startup.BASELINE
    assert len(called) == 2 * len(content["rows"]), "a warm-up and one round"
    assert content["times_the_baseline"].keys() == {startup.BEGINS, startup.COLD, startup.DONE}
    assert any("training_step" in command and "adapt" in command for command in called)


def test_a_start_up_process_that_fails_is_an_error() -> None:
    startup.process("-c", "raise SystemExit(2)", status=2)()
    with pytest.raises(Exception, match="exit status 3"):
        startup.process("-c", "raise SystemExit(3)")()
    with pytest.raises(RuntimeError, match="has said nothing"):
        startup.first_word("-c", "")()


def test_a_run_is_timed_until_it_speaks() -> None:
    startup.first_word("-c", "import sys, time; sys.stderr.write('a'); sys.stderr.flush(); time.sleep(1000)")()


def test_a_checkout_that_is_not_installed_can_be_measured() -> None:
    """As on a GPU machine to which it was copied."""
    assert installed("a-library-that-is-not-there") is None
    found = hardware()
    assert (found["vdmfewshot"], found["torch"]) == (vdmfewshot.__version__, torch.__version__)


def test_rounds_are_interleaved_and_ratios_are_taken_within_them() -> None:
    order: list[str] = []
    interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2)
    assert order == ["a", "b"] * 3
    rows = ratios({"slow": [8.0, 80.0, 8.0], "fast": [2.0, 20.0, 4.0]}, "slow")
    assert rows[1] == {"case": "fast", "min": 2.0, "median": 4.0, "max": 20.0, "times_faster": 4.0}


@pytest.mark.parametrize("task", TASKS)
def test_tasks_of_the_curve_can_be_scored(task: str) -> None:
    score, options = TASKS[task]
    data: Any = make_cli(["adapt", *options, "--data.init_args.support_seed=1"], ResolvedCLI).datamodule
    data.setup()
    (query, *_) = data.queries("test")
    metric = data.make_metric()
    right = Decoded(query.target, confidence=1.0)
    measured = {"key": query.key, "attempts": 1, **metric.measure([right], query)}
    assert recompute([measured], metric)[score] == 1


def rows_of(task: str, scores: dict[int, float], low: float) -> list[dict[str, Any]]:
    free = [{"task": task, "steps": n, "guidance": 1.0, "score": score, "low": 0.0} for n, score in scores.items()]
    return [*free, {"task": task, "steps": 50, "guidance": 6.0, "score": 0.9, "low": low}]


def test_the_default_is_the_fewest_steps_from_which_on_nothing_is_lost() -> None:
    flat, late = {1: 0.5, 4: 0.795, 10: 0.8, 20: 0.8}, {1: 0.9, 4: 0.9, 10: 0.97, 20: 0.975}
    assert choose(rows_of("a", flat, 0.7)) == 4
    assert choose(rows_of("a", flat, 0.7) + rows_of("b", late, 0.7)) == 10, "every task counts"
    assert choose(rows_of("a", flat, 0.798)) == 10, "not below the interval of the published setting"
    assert choose(rows_of("a", flat, 0.85)) is None
    assert choose(rows_of("a", {1: 0.8, 4: 0.6, 10: 0.8}, 0.5)) == 10, "a lucky small number does not count"
    other = rows_of("a", {1: 0.7, 4: 0.8, 10: 0.8, 20: 0.8}, 0.7)
    assert choose(rows_of("a", {1: 0.9, 4: 0.8, 10: 0.8, 20: 0.8}, 0.7) + other) == 1, "means over seeds"


def test_true_sizes_are_those_of_the_published_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device: shapes without memory. 5.6 billion parameters, as the model card says."""
    checkpoint = RandomCheckpoint(str(PUBLISHED / "cogvideox-1.5-5b"))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))
    transformer = checkpoint.model(CogVideoX.transformer_class, "transformer", torch.bfloat16)
    vae = checkpoint.model(CogVideoX.vae_class, "vae", torch.bfloat16)
    assert 5.5e9 < sum(p.numel() for p in transformer.parameters()) < 5.7e9
    assert 2.1e8 < sum(p.numel() for p in vae.parameters()) < 2.2e8
    assert checkpoint.scheduler(CogVideoX.schedulers).config.prediction_type == "v_prediction"


def test_stacks_against_one_task_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a side that some of the first tasks do not fit."""
    small = ("--tasks", "2", "--steps", "1", "--sampling_steps", "1", "--shape", "9", "32", "32")
    rows = run(stack, tmp_path / "out", monkeypatch, *small)["rows"]
    assert [(row["tasks"], row["phase"]) for row in rows] == [(2, "fit"), (2, "predict"), (2, "both")]
    assert all(row["stacked"] > 0 and row["difference"] < 1e-4 for row in rows)
