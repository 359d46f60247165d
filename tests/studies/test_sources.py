"""Tasks that are folders of pairs or categories of a COCO file, and what their units share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from torch import Tensor

from tests.data import coco_files
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.cli.planner import CommandLinePlanner
from vdmfewshot.cli.runner import CommandLineAdapter
from vdmfewshot.cli.study import study
from vdmfewshot.studies.settings import read_study
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest, Unit

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def pair_folders(root: Path, count: int, pairs: int = 5) -> None:
    """Folders ``f00``, ``f01``, …, each with a few tiny pictures and their mirror images."""
    for number in range(count):
        rng = np.random.default_rng(number)
        for pair in range(pairs):
            image = np.kron(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
            for name, picture in (("input", image), ("target", image[:, ::-1])):
                file = root / f"f{number:02d}" / name / f"p{pair}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(file)


def settings(tiny: Path, out: Path, tasks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    shape = {"height": 32, "width": 32, "shots": 3, "batch_size": 2}
    model = {"model.init_args.backbone.init_args.path": str(tiny), "model.init_args.sampling.steps": 1}
    rest = {"trainer.precision": "32", "trainer.max_steps": 2, "trainer.accelerator": "cpu"}
    return {
        "base": str(EXPERIMENTS / "cells.yaml"),
        "tasks": tasks,
        "set": {**shape, **model, **rest},
        "stack": 3,
        "out": str(out),
        **changes,
    }


def saved(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "pairs.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def watch(patch: pytest.MonkeyPatch, stop_at: int = 99) -> list[list[str]]:
    """The tasks of every stack that runs; one of them is interrupted."""
    stacks: list[list[str]] = []
    run = CommandLineAdapter.run

    def noted(self: CommandLineAdapter, stack: Sequence[Unit], *args: Any) -> Any:
        if len(stacks) == stop_at:
            raise KeyboardInterrupt
        stacks.append([unit.task for unit in stack])
        return run(self, stack, *args)

    patch.setattr(CommandLineAdapter, "run", noted)
    return stacks


@pytest.mark.parametrize("count", [5, pytest.param(40, marks=pytest.mark.slow)])
def test_a_study_of_pair_folders_is_interrupted_and_goes_on(count: int, tiny: Path, tmp_path: Path) -> None:
    pair_folders(tmp_path / "folders", count)
    file = saved(tmp_path, settings(tiny, tmp_path / "runs", {"folders": str(tmp_path / "folders" / "*")}))
    with pytest.MonkeyPatch.context() as patch:
        first = watch(patch, stop_at=count // 5)
        with pytest.raises(KeyboardInterrupt):
            study(["-c", str(file), "--out", str(tmp_path / "runs")])
    with pytest.MonkeyPatch.context() as patch:
        rest = watch(patch)
        assert study(["-c", str(file), "--out", str(tmp_path / "runs")]) == 0
    names = [name for stack in [*first, *rest] for name in stack]
    assert sorted(names) == [f"f{number:02d}" for number in range(count)], "each folder once"
    summary = json.loads((tmp_path / "runs" / "pairs" / "summary.json").read_text())
    (point,) = summary["points"]
    assert (summary["done"], point["scores"]["psnr_db"]["n_expected"]) == (count, 2 * count)


def test_categories_of_a_coco_file_are_tasks(tiny: Path, tmp_path: Path) -> None:
    coco_files.write(tmp_path, coco_files.instances(tmp_path, count=4))
    annotations = tmp_path / "ann.json"
    tasks = {"categories": ["dog", "cat"], "images": str(tmp_path / "images"), "annotations": str(annotations)}
    content = settings(tiny, tmp_path / "runs", tasks)
    content["set"]["shots"] = 2
    plan = CommandLinePlanner().plan(read_study(saved(tmp_path, content), {}))
    assert [(unit.task, unit.main, unit.problem) for unit in plan.units] == [
        *(("dog", "iou_dataset", ""), ("cat", "iou_dataset", ""))
    ]
    assert len({unit.group for unit in plan.units}) == 1, "they can train side by side"
    assert len({unit.id for unit in plan.units}) == 2


def test_the_ceiling_of_a_task_is_measured_once_for_all_its_units(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side, one after the other and in another process's adapter: each query passes the VAE once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pair_folders(tmp_path / "folders", 2)
    measured = 0
    reconstruct = CogVideoX.reconstruct_still

    def counted(self: CogVideoX, images: Tensor, num_frames: int) -> Tensor:
        nonlocal measured
        measured += len(images)
        return reconstruct(self, images, num_frames)

    monkeypatch.setattr(CogVideoX, "reconstruct_still", counted)
    tasks = {"folders": str(tmp_path / "folders" / "*")}
    content = settings(tiny, tmp_path / "runs", tasks, axes={"steps": [1, 2], "rank": [2, 4]}, stack=2)
    assert study(["-c", str(saved(tmp_path, content)), "--out", str(tmp_path / "runs")]) == 0
    manifest = Manifest.read(tmp_path / "runs" / "pairs")
    assert manifest is not None
    assert len(manifest.units) == 8
    assert measured == 2 * 2, "two queries of each of two tasks"
    store = Store(tmp_path / "runs" / "pairs")
    ceilings = {}
    for unit in manifest.units:
        ceilings.setdefault(unit.task, set()).add((store.place(unit.id) / "ceiling.jsonl").read_bytes())
    assert [len(found) for found in ceilings.values()] == [1, 1]
    shutil.rmtree(tmp_path / "cache" / "vdmfewshot" / "ceilings")
