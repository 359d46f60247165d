"""One command runs the whole pretraining, small."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import pytest

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.pretrain.rehearse import STAGES, Bank, recipe, rehearse, scaled_arguments

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "pretrain"


def test_every_recipe_is_a_stage() -> None:
    recipes = [stage for stage in STAGES if isinstance(stage, str)]
    assert sorted(recipes) == sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))
    assert all(recipe(name).is_file() for name in recipes)


def test_banks_of_the_stages_share_no_clip() -> None:
    ranges = sorted((stage.first, stage.first + stage.clips) for stage in STAGES if isinstance(stage, Bank))
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))


def test_steps_and_schedule_are_scaled_alike() -> None:
    arguments = scaled_arguments(EXPERIMENTS / "transformer.yaml", 0.02)
    assert {"--trainer.max_steps=60", "--model.init_args.total_steps=60"} <= set(arguments)


def test_scale_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scale must be above 0, got 0"):
        rehearse(tmp_path, 0)


@pytest.mark.slow
def test_rehearsal_ends_with_a_pipeline_that_generates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = rehearse(tmp_path, scale=0.0005)
    assert "stage 13 of 13" in capsys.readouterr().out
    home = tmp_path / "runs" / "pretrain"
    assert json.loads((home / "ceilings.json").read_text()) == scores
    assert cv2.imread(str(home / "samples.png")).shape == (4 * 64, 2 * 5 * 64 + 4, 3)
    backbone = CogVideoX(str(home / "embedded"))
    backbone.load()
    assert backbone.probe().isfinite().all()
