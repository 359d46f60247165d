"""W&B sweeps become studies, without an account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vdmfewshot.cli.planner import arguments
from vdmfewshot.cli.resolved import resolve
from vdmfewshot.studies.settings import read_study
from vdmfewshot.studies.sweep import draws, read_sweep

SWEEPS = Path(__file__).parents[2] / "experiments" / "sweeps"


def test_a_grid_is_every_combination_with_the_options_of_its_command() -> None:
    sweep = read_sweep(SWEEPS / "shots_rank_seed.yaml")
    assert (sweep["base"], sweep["set"]) == (["experiments/nuclei.yaml"], {"data.init_args.val_fraction": 0.5})
    assert len(sweep["points"]) == 4 * 3 * 5
    study = read_study(None, {"out": "elsewhere"}, sweep)
    assert (study.name, study.out, len(list(study.grid()))) == ("shots_rank_seed", "elsewhere", 60)


@pytest.mark.parametrize("name", sorted(path.name for path in SWEEPS.glob("*.yaml")))
def test_every_point_of_our_sweeps_is_a_configuration(name: str) -> None:
    study = read_study(None, {}, read_sweep(SWEEPS / name))
    cli = resolve(arguments(study, list(study.grid())[-1]))
    assert cli.options["val_fraction"] == 0.5


def test_random_draws_are_within_bounds_different_and_the_same_every_time() -> None:
    parameters: dict[str, Any] = {
        "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "rank": {"values": [4, 16]},
        "steps": {"min": 10, "max": 20},
    }
    points = list(draws(parameters, 30))
    assert points == list(draws(parameters, 30))
    assert len({str(point) for point in points}) == 30
    assert all(1e-4 <= p["lr"] <= 1e-2 and p["rank"] in (4, 16) and 10 <= p["steps"] <= 20 for p in points)
    assert sum(p["lr"] < 1e-3 for p in points) in range(8, 23), "even over decades"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "bayes"}, "method of a sweep must be grid or random to run here, got 'bayes'"),
        ({"parameters": {"lr": {"min": 0.1, "max": 1}}}, "parameters.lr of a grid must list values"),
        ({"method": "random", "parameters": {"lr": {"distribution": "beta"}}}, "distribution must be uniform"),
        ({"parameters": None}, "is no W&B sweep"),
    ],
)
def test_what_cannot_be_run_here_is_said(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump({"method": "grid", "parameters": {"lr": {"values": [1]}}, "command": []} | change))
    with pytest.raises(ValueError, match=message):
        read_sweep(file)
