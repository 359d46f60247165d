from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.runs import options, run
from vdmfewshot import __version__
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.cli import front
from vdmfewshot.cli.command import main
from vdmfewshot.cli.report import read_runs
from vdmfewshot.training.checkpoint import AtomicCheckpointIO
from vdmfewshot.training.module import FewShotModule


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, pairs_root: Path) -> Path:
    """A folder with pairs, two queries without targets, and a run of ``adapt`` on them in ``runs/mine/version_0``."""
    folder = tmp_path_factory.mktemp("cli")
    shutil.copytree(pairs_root, folder / "pairs")
    (folder / "pairs" / "queries").mkdir()
    rng = np.random.default_rng(7)
    for name in ("new one.png", "new-two.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 24, 3), dtype=np.uint8)).save(folder / "pairs" / "queries" / name)
    return folder


@pytest.fixture(scope="module")
def args(work: Path, tiny: Path) -> list[str]:
    return options(tiny, work / "runs", work / "pairs")


@pytest.fixture(scope="module")
def adapted(work: Path, args: list[str]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "HF_TOKEN"):
            patch.setenv(name, f"secret-{name}")
        run("adapt", "--name", "mine", *args)
    return work / "runs" / "mine" / "version_0"


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading weights fails the test."""

    def load(self: CogVideoX) -> None:
        raise AssertionError("weights were read before the mistake was noticed")

    monkeypatch.setattr(CogVideoX, "load", load)


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "pytorch_lora_weights.safetensors")


def scores(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("scores/test/step=*/scores.json")
    content: dict[str, Any] = json.loads(file.read_text())["scores"]
    return {name: {k: v for k, v in row.items() if k != "seconds"} for name, row in content.items()}


def test_adapt_leaves_a_complete_run(adapted: Path) -> None:
    for file in ("config.yaml", "metrics.csv", "checkpoints/last.ckpt", "pictures/test/step=2.png"):
        assert (adapted / file).stat().st_size > 0, file
    for file in ("adapter_config.json", "adapter_model.safetensors", "vdmfewshot.json", "README.md"):
        assert (adapted / "adapter" / file).stat().st_size > 0, file
    rows = scores(adapted)
    assert rows["psnr_db"]["n"] == rows["psnr_db"]["n_expected"] == 2, "six pairs, four shots"
    assert rows["psnr_db"]["low"] <= rows["psnr_db"]["score"] <= rows["psnr_db"]["high"]
    assert "test/psnr_db" in (adapted / "metrics.csv").read_text().splitlines()[0]
    assert [score.run for score in read_runs(adapted.parents[2])] == [adapted]


def test_saved_configuration_repeats_the_run_in_a_folder_of_its_own(adapted: Path) -> None:
    before = {file: file.read_bytes() for file in sorted(adapted.rglob("*")) if file.is_file()}
    run("adapt", "-c", str(adapted / "config.yaml"), "--write_outside=true")
    again = adapted.with_name("version_1")
    assert scores(again) == scores(adapted)
    old, new = adapter(adapted), adapter(again)
    assert all(torch.equal(old[name], new[name]) for name in old.keys() | new.keys())
    assert before == {file: file.read_bytes() for file in sorted(adapted.rglob("*")) if file.is_file()}


def test_secrets_of_the_environment_are_not_saved(adapted: Path) -> None:
    for file in adapted.rglob("*"):
        assert not file.is_file() or b"secret-" not in file.read_bytes(), file


def test_a_run_goes_on_where_it_stopped(adapted: Path, args: list[str], work: Path) -> None:
    last = adapted / "checkpoints" / "last.ckpt"
    resumed = run("fit", *args, "--trainer.max_steps", "4", "--name", "resumed", "--ckpt_path", str(last))
    assert resumed.trainer.global_step == 4
    run("fit", *args, "--trainer.max_steps", "4", "--name", "whole")
    whole, parts, first = (
        adapter(folder) for folder in (work / "runs/whole/version_0", work / "runs/resumed/version_0", adapted)
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not all(torch.equal(first[name], parts[name]) for name in first), "two more steps change the adapter"


def test_an_adapter_is_scored_again_by_test_and_by_checkpoint(adapted: Path, args: list[str], work: Path) -> None:
    run("test", *args, "--name", "by-adapter", "--model.adapter", str(adapted / "adapter"))
    run("test", *args, "--name", "by-checkpoint", "--ckpt_path", str(adapted / "checkpoints" / "last.ckpt"))
    for name in ("by-adapter", "by-checkpoint"):
        assert scores(work / "runs" / name / "version_0") == scores(adapted)


def test_validate_scores_held_out_training_pairs(args: list[str], work: Path) -> None:
    # two of the six pairs are held out: four shots are left
    run("validate", *args, "--name", "val", "--model.adapter", "untrained", "--data.val_fraction", "0.34")
    (file,) = (work / "runs/val/version_0/scores/val").glob("step=*/scores.json")
    assert json.loads(file.read_text())["scores"]["psnr_db"]["n"] == 2


def test_predict_answers_queries_without_targets(adapted: Path, args: list[str], work: Path) -> None:
    run("predict", *args, "--name", "answers", "--model.adapter", str(adapted / "adapter"))
    folder = work / "runs/answers/version_0/predictions"
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        with Image.open(folder / row["attempts"][0]["file"]) as picture:
            assert picture.size == (24, 40), "answers have the query's size"


def test_runs_in_folders_with_spaces_and_letters_of_any_script(
    args: list[str], work: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = work / "mes données 数据"
    shutil.copytree(work / "pairs", folder / "ma tâche")
    shutil.copytree(tiny, folder / "modèle")
    monkeypatch.chdir(folder)
    relative = ["--data.root", "ma tâche", "--model.backbone.path", "modèle", "--trainer.default_root_dir", "sor tie"]
    run("adapt", *args, *relative)
    assert scores(folder / "sor tie" / "pairs" / "version_0")["psnr_db"]["n"] == 2


# -- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("verb", ["adapt", "test", "predict"])
def test_missing_or_damaged_checkpoints_are_never_a_fresh_start(
    verb: str, adapted: Path, args: list[str], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        main([verb, *args, "--ckpt_path", str(tmp_path / "last.ckpt")])
    damaged = tmp_path / "damaged.ckpt"
    content = bytearray((adapted / "checkpoints" / "last.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.ckpt is damaged"):
        main([verb, *args, "--ckpt_path", str(damaged)])


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_a_missing_adapter_is_refused(verb: str, args: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no adapter at"):
        main([verb, *args, "--model.adapter", str(tmp_path / "nothing")])


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_nothing_trained_is_refused(verb: str, args: list[str]) -> None:
    with pytest.raises(ValueError, match="needs something trained: give --ckpt_path FILE or --model.adapter FOLDER"):
        main([verb, *args])


# -- from a shell ---------------------------------------------------------------------------------------------------


def test_module_and_version_from_a_shell(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vdmfewshot"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    version = subprocess.run([*command, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (version.returncode, version.stdout) == (0, f"vdmfewshot {__version__}\n")
    # A mistake is one message without a traceback and an exit status that scripts can use.
    (tmp_path / "x/input").mkdir(parents=True)
    wrong = subprocess.run(
        [*command, "test", "--data", "PairsDataModule", "--data.root", "x"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert "error: test needs something trained" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_console_script_reports_success(args: list[str], work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that returns its result makes the shell see a failure: sys.exit(object) is status 1."""
    monkeypatch.setattr(sys, "argv", ["vdmfewshot", "fit", *args, "--name", "script"])
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="vdmfewshot")
    assert script.load()() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_terminated_run_is_no_success(
    number: int, args: list[str], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal in the middle of training: schedulers and scripts see the shell's status for SIGTERM."""
    signals = iter([False, True])
    handler = signal.getsignal(signal.SIGTERM)

    def terminate(self: FewShotModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if next(signals):
            os.kill(os.getpid(), number)
        return training_step(self, batch, batch_idx)

    training_step = FewShotModule.training_step
    monkeypatch.setattr(FewShotModule, "training_step", terminate)
    monkeypatch.setattr(
        sys, "argv", ["vdmfewshot", "adapt", *args, "--trainer.max_steps=4", "--name", f"terminated{number}"]
    )
    with pytest.raises(SystemExit) as stop:
        front.run()
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == handler
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert not list((work / f"runs/terminated{number}").rglob("scores.json"))
    (saved,) = (work / f"runs/terminated{number}").rglob("last.ckpt")
    assert AtomicCheckpointIO().load_checkpoint(saved)["global_step"] == 2, "saved at the end of the step"


def test_without_a_logger_no_configuration_is_left_in_the_working_folder(
    args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second such run would find it and refuse to start."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("mine")
    run("fit", *args, "--trainer.default_root_dir", str(tmp_path), "--trainer.logger", "false")
    assert (tmp_path / "config.yaml").read_text() == "mine"
