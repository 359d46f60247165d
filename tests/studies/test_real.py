"""Units of the model that ships with us, a minute long: alone, on Ray and in a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vdmfewshot.cli.study import study
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
pytestmark = pytest.mark.slow


def results(out: Path, *args: str) -> dict[str, dict[str, Any]]:
    """Records and main score by task of a study of three tasks that is run with other settings."""
    file = out / "three.yaml"
    out.mkdir()
    content = {
        "base": str(EXPERIMENTS / "cells.yaml"),
        "tasks": {"generated": ["invert", "denoise", "horizontal_flip"], "max_queries": 2},
        "set": {"trainer.max_steps": 4, "height": 64, "width": 64, "batch_size": 2, "trainer.accelerator": "cpu"},
        "out": str(out),
    }
    file.write_text(yaml.safe_dump(content))
    assert study(["-c", str(file), "--out", str(out), *args]) == 0
    manifest, store = Manifest.read(out / "three"), Store(out / "three")
    assert manifest is not None
    found = {}
    for unit in manifest.units:
        lines = (store.place(unit.id) / "records.jsonl").read_text()
        facts = store.facts(unit.id)
        assert facts is not None
        found[unit.task] = {"records": lines, "score": facts["score"], "id": unit.id}
    return found


def test_a_unit_alone_on_ray_and_in_a_stack_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as Ray gives a worker of one CPU
    try:
        alone = results(tmp_path / "alone", "--stack", "1")
        stacked = results(tmp_path / "stacked", "--stack", "3")
    finally:
        torch.set_num_threads(threads)
    on_ray = results(tmp_path / "ray", "--stack", "1", "--executor.kind", "ray", "--executor.workers", "1")
    ray.shutdown()
    assert on_ray == alone, "to the last bit"
    for task, found in alone.items():
        assert stacked[task]["id"] == found["id"]
        assert stacked[task]["score"] == pytest.approx(found["score"], rel=1e-3), "up to rounding"
