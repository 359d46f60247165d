"""A run without a name is called after its experiment or data, not after overlays."""

from __future__ import annotations

from pathlib import Path

import pytest

from vdmfewshot.cli.fragments import experiments
from vdmfewshot.cli.naming import chooses_data, run_name

PAIRS = "vdmfewshot.data.pairs.PairsDataModule"


def named(*names: str, words: tuple[str, ...] = ()) -> str:
    return run_name([experiments() / f"{name}.yaml" for name in names], words, PAIRS)


@pytest.mark.parametrize("overlay", [file.stem for file in (experiments() / "overlay").glob("*.yaml")])
def test_an_overlay_gives_no_name(overlay: str) -> None:
    assert named("nuclei", f"overlay/{overlay}") == named("nuclei") == "nuclei"


def test_the_last_experiment_counts() -> None:
    assert named("nuclei", "cells") == "cells"
    assert named("tasks/hitori", "overlay/debug") == "hitori"


def test_a_run_that_is_repeated_keeps_its_name(tmp_path: Path) -> None:
    file = tmp_path / "mine" / "version_3" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("data: {class_path: PairsDataModule}")
    assert run_name([file], (), PAIRS) == "mine"


def test_without_an_experiment_it_is_the_data() -> None:
    file = str(experiments() / "data" / "people.yaml")
    assert named("overlay/wandb", words=("--data", file, "--data.shots", "3")) == "people"
    assert named("overlay/wandb", words=("--data", "PairsDataModule")) == named() == "pairs"


def test_a_file_that_cannot_be_read_gives_none(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("data: [")
    (tmp_path / "list.yaml").write_text("- data")
    assert not any(map(chooses_data, [tmp_path / "bad.yaml", tmp_path / "list.yaml", tmp_path / "nowhere.yaml"]))
