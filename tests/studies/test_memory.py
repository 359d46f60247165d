"""Memory of a process that adapts to one task after the other (fault test N5)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.data.arc_files import task, write
from tests.studies.test_study import saved, settings
from vdmfewshot.cli.planner import CommandLinePlanner
from vdmfewshot.cli.runner import CommandLineAdapter
from vdmfewshot.studies.settings import read_study
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.work import attempt


@pytest.mark.slow
def test_fifty_tasks_need_no_more_memory_than_five(
    tiny: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    for seed in range(50):
        content = task(train=((3, 3), (3, 3), (3, 3)), test=((3, 3),), seed=seed)
        write(tmp_path / "arc" / "a" / f"t{seed}.json", content)
    study = read_study(saved(tmp_path, settings(tmp_path / "arc", tiny, tmp_path / "runs", axes={})), {})
    units = CommandLinePlanner().plan(study).units
    store, adapter = Store(study.folder), CommandLineAdapter(study.folder)
    process, used = psutil.Process(), []
    for unit in units:
        (outcome,) = attempt(adapter, store, [unit])
        assert outcome.failure is None
        used.append(process.memory_info().rss)
    assert len(used) == 50
    growth = max(used[45:]) / max(used[:5]) - 1
    record_property("growth", growth)
    assert growth <= 0.05
