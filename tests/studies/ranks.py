"""Studies of pairs whose units run on several devices, and their processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.data.folders import make_pairs
from vdmfewshot.cli import ranks
from vdmfewshot.cli.study import study
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest

ROOT = Path(__file__).parents[2]


def make_study(folder: Path, tiny: Path, tasks: int, **options: Any) -> Path:
    """A study of folders of pairs, five steps each, whose adapters are kept."""
    for i in range(tasks):
        make_pairs(folder / "tasks" / f"task{i}", 6, seed=i)
    content = {
        "base": "nuclei",
        "tasks": {"folders": str(folder / "tasks" / "*")},
        "set": {
            **{"shots": 3, "batch_size": 4, "variants": 1, "max_queries": 2, "height": 32, "width": 32},
            "model.init_args.backbone.init_args.path": str(tiny),
            "model.init_args.sampling.steps": 1,
            "model.init_args.optimizer.init_args.lr": 0.01,
            **{"trainer.precision": "32", "trainer.max_steps": 5},
            **options,
        },
        "keep": ["adapter"],
    }
    file = folder / "pairs.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def run_study(file: Path, out: Path, *args: str) -> int:
    return study(["-c", str(file), "--out", str(out), *args])


def results(out: Path) -> dict[str, Any]:
    """By task: id, main score, weights of the adapter."""
    manifest, store = Manifest.read(out / "pairs"), Store(out / "pairs")
    assert manifest is not None
    found = {}
    for unit in manifest.units:
        facts, place = store.facts(unit.id), store.place(unit.id)
        if facts is not None:
            weights = load_file(place / "adapter" / "pytorch_lora_weights.safetensors")
            found[unit.task] = {"id": unit.id, "score": facts["score"], "weights": weights}
    return found


def same(one: Any, two: Any) -> None:
    """Scores and weights differ by the order in which numbers were added up, and no more."""
    assert one.keys() == two.keys()
    for task, found in one.items():
        assert two[task]["score"] == pytest.approx(found["score"], abs=1e-3)
        assert max(float(w.abs().max()) for name, w in found["weights"].items() if "lora_B" in name) > 1e-3, "learnt"
        for name, weight in found["weights"].items():
            torch.testing.assert_close(two[task]["weights"][name], weight, rtol=1e-3, atol=1e-4)


def members(folder: Path) -> dict[int, int]:
    """Rank by process of those that work for units below a folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line, env = ((entry / name).read_bytes() for name in ("cmdline", "environ"))
            except OSError:
                continue
            if ranks.__name__.encode() in line and str(folder).encode() in line:
                found[int(entry.name)] = 1 if b"\0LOCAL_RANK=1" in env else 0
    return found


def children_named(word: str) -> list[int]:
    """Workers of a Ray cluster that this process has started, which run our actors."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if " ".join(child.cmdline()).startswith(f"ray::{word}"):
                found.append(child.pid)
    return found


def until(condition: Callable[[], Any], seconds: float = 240.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing came of it in time"
        time.sleep(0.05)
    return found
