"""Configurations that are wrong or hostile: refused with a hint, before anything is loaded or run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs import options
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.cli.command import main
from vdmfewshot.cli.fragments import experiments
from vdmfewshot.cli.resolved import resolve


@pytest.fixture
def args(tiny: Path, pairs_root: Path, tmp_path: Path) -> list[str]:
    return options(tiny, tmp_path / "runs", pairs_root)


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading weights fails the test."""

    def load(self: CogVideoX) -> None:
        raise AssertionError("weights were read before the mistake was noticed")

    monkeypatch.setattr(CogVideoX, "load", load)


#: (arguments, what the message must name)
TYPOS = [
    (["--trainer.max_stps", "4"], "--trainer.max_steps"),
    (["--trainr.max_steps", "4"], "--trainer.max_steps"),
    (["--trainer.precison", "32"], "--trainer.precision"),
    (["--model.lora.rnk", "4"], "--model.lora.rank"),
    (["--model.lora.alhpa", "4"], "--model.lora.alpha"),
    (["--model.sampling.step", "4"], "--model.sampling.steps"),
    (["--model.backbone.pth", "x"], "--model.backbone.path"),
    (["--model.adaptor", "x"], "--model.adapter"),
    (["--data.shot", "3"], "--data.shots"),
    (["--data.transitoin", "discrete"], "--data.transition"),
    (["--data.num_frame", "9"], "--data.num_frames"),
    (["--ckpt_pth", "x"], "--ckpt_path"),
    (["--seed_everythin", "1"], "--seed_everything"),
    (["--data", "PairDataModule"], "PairsDataModule"),
    (["--data", "ArcDatamodule"], "ArcDataModule"),
    (["--model.backbone", "CogVideo"], "CogVideoX"),
    (["--trainer.callbacks+=Scorr"], "Scorer"),
]
#: arguments of the wrong type or outside what is legal, and what the message must name
WRONG = [
    (["--data.num_frames", "16"], "num_frames must be 4k+1 for CogVideoX, got 16; nearest: 13, 17"),
    (["--data.height", "30"], "height must be a multiple of 8"),
    (["--data.width", "1600"], "width must be at most 32"),
    (["--data.shots", "many"], "shots"),
    (["--data.shots", "0"], "shots must be at least 1, got 0"),
    (["--data.shots", "99"], "shots must be at most 6"),
    (["--data.transition", "fade"], "transition"),
    (["--data.batch_size", "0"], "batch_size must be at least 1, got 0"),
    (["--data.root", "nowhere"], "nowhere"),
    (["--data.target", "labels"], "num_classes is needed"),
    (["--model.lora.rank", "0"], "rank must be at least 1, got 0"),
    (["--model.lora.rank", "high"], "rank"),
    (["--model.lora.dropout", "1.5"], "dropout must be in [0, 1), got 1.5"),
    (["--model.sampling.steps", "0"], "steps must be at least 1, got 0"),
    (["--model.sampling.guidance", "0.5"], "guidance must be at least 1"),
    (["--model.sampling.max_batch", "0"], "sampling.max_batch must be at least 1, got 0"),
    (["--model.sampling.quality", "best"], "quality"),
    (["--model.sampling.decode", "first"], "decode"),
    (["--model.backbone.dtype", "fp8"], "dtype"),
    (["--model.backbone.path", "./nowhere"], "neither embedded, a folder, nor OWNER/NAME"),
    (["--trainer.max_steps", "soon"], "max_steps"),
    (["-c", "nowhere.yaml"], "nowhere.yaml"),
]


def message(verb: str, args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the user is told about a mistake, whether argument parser or our code finds it."""
    with pytest.raises((SystemExit, ValueError, FileNotFoundError)) as caught:
        main([verb, *args])
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 2
    return f"{caught.value} {capsys.readouterr().err}"


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(("wrong", "nearest"), TYPOS, ids=lambda x: str(x[0]) if isinstance(x, list) else None)
def test_typos_name_the_nearest_valid_word(
    wrong: list[str], nearest: str, args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = message("fit", [*args, *wrong], capsys)
    assert f"did you mean {nearest}?" in told
    assert "\n" not in told.strip().removesuffix("see: vdmfewshot fit --help").strip(), "and nothing else"


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(("wrong", "rule"), WRONG, ids=lambda x: " ".join(x) if isinstance(x, list) else None)
def test_illegal_values_name_the_rule_before_weights_are_read(
    wrong: list[str], rule: str, args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert rule in message("fit", [*args, *wrong], capsys)


@pytest.mark.parametrize(
    ("yaml", "nearest"),
    [
        ("trainer: {max_stps: 4}", "trainer.max_steps"),
        ("modle: {class_path: FewShotModule}", "model"),
        ("model: {class_path: FewShotModul}", "FewShotModule"),
        ("model: {class_path: FewShotModule, init_args: {lora: {rnk: 4}}}", "model.lora.rank"),
        ("data: {class_path: PairsDataModule, init_args: {rot: x}}", "data.root"),
    ],
)
def test_typos_in_files_name_the_nearest_valid_word(
    yaml: str, nearest: str, args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "typo.yaml").write_text(yaml)
    told = message("fit", ["-c", str(tmp_path / "typo.yaml"), *args], capsys)
    assert f"did you mean {nearest}?" in told
    assert "typo.yaml: " in told


# -- malice ---------------------------------------------------------------------------------------------------------

MALICE = {
    "popen as model": "model: {class_path: subprocess.Popen, init_args: {args: [touch, CANARY]}}",
    "popen as data": "data: {class_path: subprocess.Popen, init_args: {args: [touch, CANARY]}}",
    "system as optimizer": "model: {class_path: FewShotModule, init_args: {backbone: {class_path: CogVideoX}, "
    "optimizer: {class_path: os.system, init_args: {command: touch CANARY}}}}",
    "eval as backbone": "model: {class_path: FewShotModule, init_args: {backbone: {class_path: builtins.eval, "
    "init_args: {source: \"open('CANARY', 'w')\"}}}}",
    "popen as callback": "trainer: {callbacks: [{class_path: subprocess.Popen, init_args: {args: [touch, CANARY]}}]}",
    "popen as logger": "trainer: {logger: {class_path: subprocess.Popen, init_args: {args: [touch, CANARY]}}}",
    "module that runs when imported": "data: {class_path: canary_module.Data}",
    "the same by its path alone": "data: canary_module.Data",
    "the same as a callback": "trainer: {callbacks: [canary_module.Data]}",
    "hydra target": "model: {_target_: os.system, command: touch CANARY}",
    "python object": "model: !!python/object/apply:os.system ['touch CANARY']",
    "python object in a list": "trainer: {callbacks: [!!python/object/new:os.system ['touch CANARY']]}",
    "python name": "seed_everything: !!python/name:os.system",
}


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("yaml", MALICE.values(), ids=list(MALICE))
def test_configurations_cannot_run_code(
    yaml: str, args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    canary, config = tmp_path / "canary", tmp_path / "evil.yaml"
    (tmp_path / "canary_module.py").write_text(f"open({str(canary)!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    config.write_text(yaml.replace("CANARY", str(canary)))
    told = message(
        "fit", [*(arg for arg in args if "data" not in arg or "data" not in yaml), "-c", str(config)], capsys
    )
    assert not canary.exists()
    assert told.strip()


@pytest.mark.usefixtures("no_weights")
def test_adapt_without_anything_to_score_says_so_before_it_trains(args: list[str]) -> None:
    with pytest.raises(ValueError, match=r"nothing to score: 6 pairs are shots; keep some with --data\.shots 5"):
        main(["adapt", *args, "--data.shots", "6"])


def test_an_experiment_may_name_what_ships_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("model: embedded\ndata: nuclei\ntrainer: cpu\nname: n\n")
    monkeypatch.chdir(tmp_path)
    by_name, shipped = resolve(["-c", "mine.yaml"]), resolve(["-c", str(experiments() / "nuclei.yaml"), "--name", "n"])
    assert by_name.key() == shipped.key()
    assert by_name.options == shipped.options
    assert by_name.chosen.trainer == shipped.chosen.trainer
