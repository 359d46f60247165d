"""Memory of a process that adapts to one task after the other, here and as a worker of Ray (fault test N5)."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from tests.data.arc_files import task, write
from tests.studies.ranks import children_named
from tests.studies.test_study import saved, settings
from vdmfewshot.cli.planner import CommandLinePlanner
from vdmfewshot.cli.runner import CommandLineAdapter
from vdmfewshot.cli.study import make_adapter
from vdmfewshot.studies.engine import Engine
from vdmfewshot.studies.progress import Progress
from vdmfewshot.studies.ray_cluster import run_on_ray
from vdmfewshot.studies.settings import read_study
from vdmfewshot.studies.stacks import cut
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.work import Outcome, attempt

pytestmark = pytest.mark.slow
UNITS = 50
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arc")
    for seed in range(UNITS):
        content = task(train=((3, 3), (3, 3), (3, 3)), test=((3, 3),), seed=seed)
        write(folder / "a" / f"t{seed}.json", content)
    return folder


def check(used: list[int], record_property: Record) -> None:
    """The last units need no more memory than the first, which load the model; figures in MB for the report."""
    record_property("megabytes", [round(size / 1e6) for size in used])
    assert len(used) == UNITS
    assert max(used[-5:]) / max(used[:5]) - 1 <= 0.05


def test_fifty_tasks_need_no_more_memory_than_five(
    source: Path, tiny: Path, tmp_path: Path, record_property: Record
) -> None:
    study = read_study(saved(tmp_path, settings(source, tiny, tmp_path / "runs", axes={})), {})
    units = CommandLinePlanner().plan(study).units
    store, adapter = Store(study.folder), CommandLineAdapter(study.folder)
    process, used = psutil.Process(), []
    for unit in units:
        (outcome,) = attempt(adapter, store, [unit])
        assert outcome.failure is None
        used.append(process.memory_info().rss)
    check(used, record_property)


class Scale:
    """Weighs the one worker of Ray on this machine whenever it has finished a unit."""

    def __init__(self) -> None:
        self.workers: set[int] = set()
        self.used: list[int] = []

    def heard(self, outcome: Outcome, progress: Progress) -> None:
        assert outcome.failure is None
        (worker,) = children_named("Worker")
        self.workers.add(worker)
        self.used.append(psutil.Process(worker).memory_info().rss)


def test_a_worker_of_ray_needs_no_more_memory_after_fifty_tasks(
    source: Path, tiny: Path, tmp_path: Path, record_property: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    executor = {"kind": "ray", "workers": 1, "num_gpus": 0}
    content = settings(source, tiny, tmp_path / "runs", axes={}, stack=1, executor=executor)
    study, scale = read_study(saved(tmp_path, content), {}), Scale()
    engine = Engine(study, CommandLinePlanner, make_adapter, Console(file=io.StringIO()))
    manifest = engine.manifest()
    progress = Progress(manifest, {}, [], engine.console, [scale])
    try:
        run_on_ray(cut(manifest.units, 1), study, make_adapter, engine.store, progress)
    finally:
        ray.shutdown()
    assert len(scale.workers) == 1, "it is the same process"
    check(scale.used, record_property)
