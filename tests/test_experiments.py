from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.runs import run
from vdmfewshot.cli.command import main
from vdmfewshot.data.segmentation import MaskFolderDataModule
from vdmfewshot.defaults import PAPERS
from vdmfewshot.training.sampling import SamplingArgs

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"


def names(folder: str) -> list[str]:
    """Those of ``evidence`` have a verb and tests of their own."""
    return sorted(f.name for f in (EXPERIMENTS / folder).glob("*.yaml") if not f.name.startswith("evidence"))


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def resolve(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    """The configuration that a command line stands for, as ``--print_config`` prints it."""
    with pytest.raises(SystemExit) as stop:
        main([*args, "--print_config"])
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    config: dict[str, Any] = yaml.safe_load(captured.out)
    return config


def test_print_config_refuses_what_the_real_command_refuses() -> None:
    with pytest.raises(ValueError, match=r"did you mean --data\.shots\?"):
        main(["adapt", "-c", "experiments/nuclei.yaml", "--data.init_args.shotz=3", "--print_config"])


@pytest.mark.parametrize("name", names("."))
def test_experiments_parse_and_are_reproducible(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = resolve(capsys, "adapt", "-c", f"experiments/{name}")
    assert isinstance(config["seed_everything"], int)
    assert config["trainer"]["max_steps"] > 0


@pytest.mark.parametrize("folder", ["model", "data", "trainer"])
def test_every_fragment_replaces_that_of_an_experiment(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in names(folder):
        file = f"experiments/{folder}/{name}"
        config = resolve(capsys, "fit", "-c", "experiments/nuclei.yaml", f"--{folder}={file}")
        fragment = yaml.safe_load(Path(file).read_text())
        for key, value in fragment.items():
            assert contains(config[folder][key], value), (name, key)


@pytest.mark.parametrize("name", names("overlay"))
@pytest.mark.parametrize("experiment", names("."))
def test_overlays_fit_every_experiment(experiment: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = resolve(capsys, "adapt", "-c", f"experiments/{experiment}", "-c", f"experiments/overlay/{name}")
    for key, value in yaml.safe_load((EXPERIMENTS / "overlay" / name).read_text()).items():
        for inner, expected in value.items():
            found = config[key][inner]
            assert contains(found[0] if isinstance(found, list) else found, expected), (key, inner)


@pytest.mark.parametrize("name", [name for name in names("model") if name.startswith("wan")])
def test_wan_presets_are_those_of_the_paper(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """arXiv 2510.24448, table 5, Wan2.1-14B; the LoRA targets are not published."""
    overlay = ["-c", "experiments/overlay/wan.yaml"]
    config = resolve(capsys, "adapt", "-c", "experiments/nuclei.yaml", f"--model=experiments/model/{name}", *overlay)
    model = config["model"]["init_args"]
    assert model["backbone"]["class_path"] == "vdmfewshot.backbones.Wan"
    assert (model["lora"]["rank"], model["lora"]["alpha"]) == (64, 32)
    assert (model["optimizer"]["class_path"], model["optimizer"]["init_args"]["lr"]) == ("torch.optim.AdamW", 1e-4)
    assert model["lr_scheduler"] is None
    assert config["data"]["init_args"]["batch_size"] == 1
    assert config["trainer"]["gradient_clip_val"] == 0.05


def contains(config: Any, part: Any) -> bool:
    """Whether a resolved configuration says at least what a part says."""
    if isinstance(part, dict):
        return isinstance(config, dict) and all(contains(config.get(k), v) for k, v in part.items())
    if isinstance(part, list) and isinstance(config, list):
        return len(config) == len(part) and all(map(contains, config, part))
    if isinstance(config, dict) and isinstance(part, str):  # a class by its short name
        return str(config["class_path"]).endswith(part)
    return bool(config == part) or str(config) == str(part)


def test_paper_preset_is_that_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    """arXiv 2510.24448, table 5."""
    config = resolve(capsys, "adapt", "-c", "experiments/nuclei.yaml", "-c", "experiments/overlay/paper.yaml")
    model = config["model"]["init_args"]
    assert (model["lora"]["rank"], model["lora"]["alpha"]) == (64, 32)
    assert (model["optimizer"]["class_path"], model["optimizer"]["init_args"]["lr"]) == ("torch.optim.AdamW", 1e-4)
    assert (model["lr_scheduler"], model["emphasis"]) == (None, 0)
    sampling = SamplingArgs(**model["sampling"])
    assert (sampling.num_inference_steps(PAPERS), sampling.guidance_scale) == (50, 6.0), "no file below sets them"
    assert config["trainer"]["gradient_clip_val"] == 1.0
    assert config["data"]["init_args"]["batch_size"] == 2


@pytest.mark.parametrize("name", [name for name in names("model") if name.startswith("ltx-video")])
def test_ltx_presets_are_those_of_the_paper(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """arXiv 2510.24448, table 5; distilled checkpoints take as many steps as they have timesteps."""
    config = resolve(capsys, "adapt", "-c", "experiments/nuclei.yaml", f"--model=experiments/model/{name}")
    model, backbone = config["model"]["init_args"], config["model"]["init_args"]["backbone"]["init_args"]
    assert (model["lora"]["rank"], model["lora"]["alpha"]) == (64, 64)
    assert model["lora"]["targets"] == ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
    assert (model["optimizer"]["class_path"], model["optimizer"]["init_args"]["lr"]) == ("torch.optim.AdamW", 2e-4)
    assert model["lr_scheduler"]["class_path"] == "torch.optim.lr_scheduler.LinearLR"
    assert ("distilled" in name) == (model["sampling"]["steps"] == len(backbone.get("timesteps") or []))


@pytest.mark.parametrize("name", ["arc.yaml", "arc-stack.yaml", "cells.yaml", "nuclei.yaml", "people.yaml"])
def test_experiments_run_on_their_real_data(name: str, tiny: Path, tmp_path: Path) -> None:
    small = ["--data.init_args.height=32", "--data.init_args.width=32", "--trainer.default_root_dir", str(tmp_path)]
    backbone = f"--model.init_args.backbone.init_args.path={tiny}"
    run("adapt", "-c", f"experiments/{name}", "-c", "experiments/overlay/debug.yaml", backbone, *small, "--name", "x")
    (file,) = tmp_path.glob("x/version_0/scores/test/step=2/scores.json")
    content = json.loads(file.read_text())
    assert content["scores"][content["main"]]["n_expected"] > 0


# -- sweeps ---------------------------------------------------------------------------------------------------------


def command_line(sweep: dict[str, Any], index: int) -> list[str]:
    """Point ``index`` of a grid as a W&B agent starts it: ``${args}`` becomes ``--key=value`` for each parameter."""
    arguments = [f"--{key}={choice['values'][index]}" for key, choice in sweep["parameters"].items()]
    parts = [arguments if part == "${args}" else [str(part)] for part in sweep["command"]]
    return [argument for part in parts for argument in part]


@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("name", names("sweeps"))
def test_points_of_sweeps_are_plain_fit_commands(name: str, index: int, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = yaml.safe_load((EXPERIMENTS / "sweeps" / name).read_text())
    program, verb, *arguments = command_line(sweep, index)
    assert (program, verb) == ("vdmfewshot", "fit")
    config = resolve(capsys, verb, *arguments)
    for key, choice in sweep["parameters"].items():
        value = config
        for part in key.split("."):
            value = value[part]
        expected = choice["values"][index]
        if str(expected).endswith(".yaml"):
            assert contains(value, yaml.safe_load(Path(expected).read_text()))
        else:
            assert value == expected


@pytest.mark.parametrize("name", names("sweeps"))
def test_sweeps_optimise_a_score_that_their_command_logs(name: str) -> None:
    """``fit`` validates, so it must be a score of the task's metric under ``val/``, on pairs that exist."""
    sweep = yaml.safe_load((EXPERIMENTS / "sweeps" / name).read_text())
    stage, _, score = sweep["metric"]["name"].partition("/")
    fraction = next(float(c.partition("=")[2]) for c in sweep["command"] if "val_fraction" in str(c))
    shots = max(sweep["parameters"].get("data.init_args.shots", {"values": [5]})["values"])
    data = MaskFolderDataModule("sample:nuclei", shots=shots, val_fraction=fraction, height=32, width=32)
    data.setup()
    assert (stage, score) == ("val", data.make_metric().main)
    assert len(data.queries("validate")) == 15
