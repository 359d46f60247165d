"""The bare command, the experiment files, Python and the demo use one set of defaults."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import vdmfewshot as vdm
from vdmfewshot.api import make_module, make_trainer
from vdmfewshot.cli.command import main
from vdmfewshot.defaults import EMBEDDED, PAPERS, RATE, TRAINER
from vdmfewshot.training.sampling import SamplingArgs

ROOT = Path(__file__).parents[1]
PAIRS = [(np.full((16, 16, 3), i, np.uint8), np.eye(16, dtype=bool)) for i in range(3)]


def printed(*args: str) -> dict[str, Any]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        main(["fit", *args, "--print_config"])
    found: dict[str, Any] = yaml.safe_load(out.getvalue())
    return found


DEMO = re.search(r"^DEMO := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
assert DEMO is not None


@pytest.mark.parametrize("name", ["", *DEMO.group(1).split()])
def test_commands_and_files_agree(name: str) -> None:
    data = ["--data", "PairsDataModule", "--data.root", "x"]
    config = printed(*(["-c", str(ROOT / f"experiments/{name}.yaml")] if name else data))
    model, data_args = config["model"]["init_args"], config["data"]["init_args"]
    assert model["optimizer"]["init_args"]["lr"] == RATE
    assert model["sampling"]["quality"] == "auto"
    assert model["backbone"]["init_args"]["timestep_shift"] is None
    assert config["trainer"]["max_steps"] == TRAINER["max_steps"]
    assert data_args.get("num_frames") is None
    assert data_args.get("transition") is None


def test_python_agrees(tmp_path: Path) -> None:
    module, trainer = make_module("embedded", seed=0), make_trainer(tmp_path, "cpu")
    optimizer = module.optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert optimizer.param_groups[0]["lr"] == RATE
    assert trainer.max_steps == TRAINER["max_steps"]
    assert module.backbone.timestep_shift == EMBEDDED.timestep_shift
    assert SamplingArgs().num_inference_steps(module.backbone.preset) == EMBEDDED.sampling_steps


def test_clips_are_what_suits_the_model_unless_they_are_given(tmp_path: Path, tiny: Path) -> None:
    for model, preset in ((vdm.CogVideoX("embedded"), EMBEDDED), (vdm.CogVideoX(str(tiny)), PAPERS)):
        trainer = make_trainer(tmp_path, "cpu")
        trainer.strategy.connect(vdm.FewShotModule(model))
        free, fixed = (vdm.PairsDataModule.from_pairs(PAIRS, "mask", num_frames=n) for n in (None, 17))
        free.trainer = fixed.trainer = trainer
        assert (free.clip_shape[0], free.transition) == (preset.num_frames, preset.transition)
        assert fixed.clip_shape[0] == 17


def test_the_rate_is_the_literal_that_configurations_show() -> None:
    assert f"lr={RATE:.0e}".replace("e-03", "e-3") in inspect.getsource(vdm.FewShotModule)
