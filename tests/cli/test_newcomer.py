"""What a newcomer trips over: each once tried by hand, now refused or said."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from PIL import Image

from tests.runs import options, run
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.callbacks.progress import Progress
from vdmfewshot.cli import front
from vdmfewshot.cli.command import main
from vdmfewshot.defaults import EMBEDDED
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.refusals import require_hardware

NAME = "2024-05-01 10.11.12:p1 (1)"


@pytest.fixture(scope="module")
def args(tmp_path_factory: pytest.TempPathFactory, tiny: Path, pairs_root: Path) -> list[str]:
    """Options of a run that has been adapted once, named ``mine``."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "pairs").symlink_to(pairs_root)
    queries = folder / "queries" / "queries"
    queries.mkdir(parents=True)
    Image.fromarray(np.zeros((40, 24, 3), np.uint8)).save(queries / f"{NAME}.png")
    given = [*options(tiny, folder / "runs", folder / "pairs"), "--name", "mine"]
    run("adapt", *given)
    return given


@pytest.fixture
def runs(args: list[str]) -> Path:
    return Path(args[args.index("--trainer.default_root_dir") + 1])


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading weights fails the test."""

    def load(self: CogVideoX) -> None:
        raise AssertionError("weights were read before the mistake was noticed")

    monkeypatch.setattr(CogVideoX, "load", load)


def test_the_end_names_results_and_answers_keep_their_files_names(
    args: list[str], runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = str(runs / "mine" / "version_0" / "adapter")
    root = str(runs.parent / "queries")
    front.run(["predict", *args, "--data.root", root, "--name", "answers", "--model.adapter", adapter])
    folder = runs / "answers" / "version_0"
    told = capsys.readouterr().out
    assert f"results:     {folder}\npredictions: {folder}/predictions/predictions.jsonl" in told
    (row,) = [json.loads(line) for line in (folder / "predictions/predictions.jsonl").read_text().splitlines()]
    assert row["source"] == str(runs.parent / "queries" / "queries" / f"{NAME}.png")
    assert row["attempts"][0]["file"] == f"{NAME}.png"
    assert (folder / "predictions" / f"{NAME}.png").is_file()


@pytest.mark.usefixtures("no_weights")
def test_a_finished_run_has_nothing_left_to_train(args: list[str], runs: Path) -> None:
    with pytest.raises(ValueError, match=r"has 2 steps and trainer\.max_steps is 2.*nothing left to train"):
        main(["fit", *args, "--ckpt_path", "last"])
    assert not (runs / "mine" / "version_1").exists(), "no version for nothing"


def test_a_run_that_is_stopped_says_how_to_go_on(
    args: list[str], runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step, handler = FewShotModule.training_step, signal.getsignal(signal.SIGINT)

    def stop_at_two(self: FewShotModule, *given: Any) -> Any:
        if self.global_step == 1:
            raise KeyboardInterrupt
        return step(self, *given)

    monkeypatch.setattr(FewShotModule, "training_step", stop_at_two)
    try:
        with pytest.raises(SystemExit) as end:
            front.run(["fit", *args, "--name", "stopped"])
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on
    assert end.value.code == 130
    told = capsys.readouterr().err.splitlines()[-1]
    remedy = "the same command with --name stopped --ckpt_path last goes on"
    assert told == f"fit stopped after step 1, see {runs / 'stopped' / 'version_0'}; {remedy}"


@pytest.mark.usefixtures("no_weights")
def test_there_may_be_no_last_checkpoint(args: list[str]) -> None:
    with pytest.raises(FileNotFoundError, match=r"other/version_\*/checkpoints/last\.ckpt; give --name or a file"):
        main(["fit", *args, "--ckpt_path", "last", "--name", "other"])


def test_the_last_checkpoint_of_a_name_goes_on_and_progress_counts_the_whole_run(args: list[str]) -> None:
    resumed = run("fit", *args, "--ckpt_path", "last", "--trainer.max_steps", "3", "--trainer.limit_val_batches", "0")
    assert resumed.trainer.global_step == 3
    bar = Progress()
    bar._trainer = resumed.trainer  # type: ignore[assignment]
    assert bar.total_train_batches == 3, "two of them before the resume"


@pytest.mark.usefixtures("no_weights")
def test_inputs_without_any_answer_cannot_be_learned_from(args: list[str], tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    for i in range(3):
        Image.fromarray(np.full((32, 32, 3), 60 * i, np.uint8)).save(tmp_path / "input" / f"{i}.png")
    with pytest.raises(ValueError, match=r"none of 3 inputs has a target to learn from; add targets, or .*predict"):
        main(["adapt", *args, "--data.root", str(tmp_path)])


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("verb", ["test", "predict"])
def test_an_adapter_of_another_clip_shape_is_refused(verb: str, args: list[str], runs: Path) -> None:
    adapter = str(runs / "mine" / "version_0" / "adapter")
    with pytest.raises(ValueError, match=r"9 frames of 32x32 pixels, got 9 of 32x48; use --data\.num_frames 9"):
        main([verb, *args, "--data.width", "48", "--model.adapter", adapter])


@pytest.mark.usefixtures("no_weights")
def test_an_adapter_is_compared_with_the_clips_that_suit_its_model(args: list[str], runs: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(runs / "mine" / "version_0" / "adapter", adapter)
    manifest = json.loads((adapter / "vdmfewshot.json").read_text())
    manifest["clip"]["num_frames"] = EMBEDDED.num_frames  # as `adapt` without --data.num_frames leaves it
    (adapter / "vdmfewshot.json").write_text(json.dumps(manifest))
    with pytest.raises(AssertionError, match="weights were read"):  # and nothing was refused before
        main(["predict", *args, "--model.adapter", str(adapter), "--model.backbone.path", "embedded"])


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("precision", ["16-mixed", "16-true", "16"])
def test_half_precision_on_a_cpu_is_refused(precision: str, args: list[str]) -> None:
    with pytest.raises(ValueError, match=r"takes minutes a step on a CPU.*32-true or bf16-mixed"):
        main(["fit", *args, "--trainer.precision", precision])


def test_a_missing_accelerator_is_a_message() -> None:
    if torch.accelerator.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=r"does not find, only cpu; use --trainer\.accelerator auto"):
        require_hardware("gpu", "None")
    require_hardware("auto", "bf16-mixed")


def test_the_metric_of_a_sweep_is_logged_whatever_the_number_of_steps(args: list[str], runs: Path) -> None:
    run("fit", *args, "--name", "point", "--data.val_fraction", "0.34")
    with (runs / "point" / "version_0" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/psnr_db")]
    assert len(rows) == 1


def test_files_of_wandb_lie_in_the_folder_of_the_run(args: list[str], runs: Path) -> None:
    run("fit", *args, "-c", "wandb", "--name", "logged")
    wandb.finish()
    wandb.teardown()
    assert list((runs / "logged" / "version_0" / "wandb").glob("offline-run-*"))


def test_quiet_leaves_scores_and_where_results_are(args: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    front.run(["adapt", *args, "--name", "still", "--quiet"])
    loud = ("Clips:", "Cost:", "Memory:", "Measured:", "Adapting", "Epoch", "GPU available", "adapter saved")
    said, noise = capfd.readouterr()
    assert not [word for word in loud if word in said + noise]
    assert "psnr_db" in said
    assert "still/version_0" in said.replace("\n", "")
