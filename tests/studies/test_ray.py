"""Studies on Ray: real clusters of several nodes on this machine, workers that are killed, and what it costs."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.studies.units import ScriptedAdapter, ScriptedPlanner
from vdmfewshot.studies.engine import PARTIAL, Engine
from vdmfewshot.studies.settings import Executor, Study

ray = pytest.importorskip("ray")
# Ray's workers yield to everything else, and on a machine that is busy they would not even come up.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.fixture(scope="module")
def one_node() -> Iterator[None]:
    """A cluster of this machine with four places, for all tests that leave it whole."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


def make_engine(folder: Path, script: dict[str, Any], workers: int = 2, **settings: Any) -> Engine:
    stack = settings.pop("stack", 4)
    executor = Executor("ray", workers=workers, num_gpus=0, **settings)
    study = Study(("base.yaml",), tasks={"script": script}, out=str(folder), stack=stack, executor=executor)
    return Engine(study, ScriptedPlanner, ScriptedAdapter, Console(file=io.StringIO(), width=200))


def summary(engine: Engine) -> dict[str, Any]:
    return json.loads((engine.study.folder / "summary.json").read_text())


def ran(engine: Engine) -> list[tuple[list[str], int]]:
    """Tasks and process of every stack."""
    lines = (engine.study.folder / "log.jsonl").read_text().splitlines()
    return [(stack, pid) for stack, _, pid in map(json.loads, lines)]


def test_a_poison_task_fails_after_three_attempts_and_the_others_finish(one_node: None, tmp_path: Path) -> None:
    script = {f"t{i}": {} for i in range(8)} | {"t3": {"crash": True}, "t5": {"fail": "its own fault"}}
    engine = make_engine(tmp_path, script)
    assert engine.run() == PARTIAL
    found = summary(engine)
    assert found["done"] == 6
    assert found["missing"]["t3"]["kind"] == "crash"
    assert engine.store.failures()[engine.manifest().units[3].id].attempts == 3
    assert found["missing"]["t5"] == {"kind": "error", "reason": "ValueError: its own fault"}
    assert sum(stack.count("t3") for stack, _ in ran(engine)) == 3
    before = len(ran(engine))
    make_engine(tmp_path, script).run()
    assert len(ran(engine)) == before, "starting again runs nothing"


def test_a_hang_is_ended_and_tried_again(one_node: None, tmp_path: Path) -> None:
    script = {"t0": {}, "t1": {"sleep": 600, "alone": True}, "t2": {}}
    engine = make_engine(tmp_path, script, timeout=2, max_attempts=2)
    assert engine.run() == PARTIAL
    assert summary(engine)["missing"]["t1"]["kind"] == "timeout"
    assert sum("t1" in stack for stack, _ in ran(engine)) == 2


def test_a_worker_that_dies_once_costs_no_unit(one_node: None, tmp_path: Path) -> None:
    script = {f"t{i}": {"once": str(tmp_path / f"died{i}"), "alone": True} if i < 2 else {} for i in range(6)}
    engine = make_engine(tmp_path, script)
    assert engine.run() == 0
    assert summary(engine)["done"] == 6


def test_ray_gives_what_the_local_executor_gives(one_node: None, tmp_path: Path) -> None:
    script = {f"t{i}": {"score": i % 3 == 0} for i in range(9)}
    on_ray = make_engine(tmp_path / "ray", script)
    assert on_ray.run() == 0
    local = Engine(
        Study(("base.yaml",), tasks={"script": script}, out=str(tmp_path / "local"), stack=4),
        ScriptedPlanner,
        ScriptedAdapter,
        Console(file=io.StringIO()),
    )
    assert local.run() == 0
    for unit in local.manifest().units:
        mine, theirs = (engine.store.place(unit.id) / "records.jsonl" for engine in (local, on_ray))
        assert mine.read_bytes() == theirs.read_bytes()


def test_without_a_cluster_at_the_address_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vdmfewshot.studies import ray_cluster

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ValueError, match="no Ray cluster at executor.address '127.0.0.1:1'"):
        ray_cluster.connect(Executor("ray", address="127.0.0.1:1"))
