"""Faults of whole clusters, minutes long: workers killed at random, a node that leaves, a driver that dies."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.studies.ranks import children_named
from tests.studies.test_ray import make_engine, summary
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


def contents(engine: Any) -> dict[str, bytes]:
    store = engine.store
    return {unit.task: (store.place(unit.id) / "records.jsonl").read_bytes() for unit in engine.manifest().units}


def test_workers_killed_at_random_cost_no_unit_and_little_work(tmp_path: Path) -> None:
    """60 tasks of ten seconds on four workers, of which one is killed every 20 to 40 seconds."""
    script = {f"t{i}": {"sleep": 10, "score": i % 2, "alone": True} for i in range(60)}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    over, killed = threading.Event(), []

    def kill() -> None:
        rng = random.Random(0)
        while not over.wait(rng.uniform(20, 40)):
            if workers := children_named("Worker"):
                killed.append(rng.choice(workers))
                os.kill(killed[-1], signal.SIGKILL)

    thread, begun = threading.Thread(target=kill), time.monotonic()
    thread.start()
    try:
        engine = make_engine(tmp_path / "chaos", script, workers=4)
        assert engine.run() == 0
    finally:
        over.set()
        thread.join()
    assert len(killed) >= 4
    started = len((engine.study.folder / "log.jsonl").read_text().splitlines())
    sys.stdout.write(f"{len(killed)} kills in {time.monotonic() - begun:.0f} s, {started} attempts for 60 units\n")
    assert started <= 60 * 1.25, f"{started - 60} of {started} attempts were wasted by {len(killed)} kills"
    calm = make_engine(tmp_path / "calm", {name: {**data, "sleep": 0} for name, data in script.items()}, workers=4)
    assert calm.run() == 0
    ray.shutdown()
    assert contents(engine) == contents(calm)
    assert make_engine(tmp_path / "chaos", script, workers=4).run() == 0
    assert len((engine.study.folder / "log.jsonl").read_text().splitlines()) == started, "a second start runs nothing"


def test_a_node_that_leaves_takes_no_finished_unit_with_it(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    script = {f"t{i}": {"sleep": 0.5, "alone": True} for i in range(24)}
    engine = make_engine(tmp_path, script, workers=3)
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(engine.run()))
    try:
        thread.start()
        store = Store(engine.study.folder)
        wait_for(lambda: len(list((engine.study.folder / "units").glob("*/*"))) >= 6)
        before = {path: path.stat().st_mtime_ns for path in store.folder.glob("units/*/*/DONE")}
        cluster.remove_node(second)
        thread.join(240)
        assert status == [0]
        assert {path: path.stat().st_mtime_ns for path in before} == before
        assert summary(engine)["done"] == 24
    finally:
        ray.shutdown()
        cluster.shutdown()


DRIVER = """
import sys
from pathlib import Path
from tests.studies.ranks import children_named
from tests.studies.test_ray import make_engine
script = {f"t{i}": {"sleep": 0.5, "alone": True} for i in range(20)}
raise SystemExit(make_engine(Path(sys.argv[1]), script, workers=2).run())
"""


def test_a_driver_that_is_killed_with_its_cluster_loses_what_was_running_and_no_more(tmp_path: Path) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], start_new_session=True)
    folder = tmp_path / "study"
    wait_for(lambda: len(list(folder.glob("units/*/*/DONE"))) >= 5)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("units/*/*/DONE")}
    done = {json.loads(path.read_text())["task"] for path in before}
    lines = len((folder / "log.jsonl").read_text().splitlines())
    again = subprocess.run([sys.executable, "-c", DRIVER, str(tmp_path)], timeout=240)
    assert again.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert len(Store(folder).finished(manifest.by_id)) == 20
    second = [json.loads(line)[0][0] for line in (folder / "log.jsonl").read_text().splitlines()[lines:]]
    assert not set(second) & done


FOLLOWER = """
import sys
from pathlib import Path
from tests.studies.ranks import children_named
from tests.studies.test_ray import make_engine
script = {f"t{i}": {"sleep": 0.5, "alone": True} for i in range(20)}
raise SystemExit(make_engine(Path(sys.argv[1]), script, workers=2, address=sys.argv[2]).run())
"""


def test_a_head_that_is_killed_and_started_again_runs_no_finished_unit_again(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    folder = tmp_path / "study"
    first = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    driver = subprocess.Popen([sys.executable, "-c", FOLLOWER, str(tmp_path), first.address], start_new_session=True)
    wait_for(lambda: len(list(folder.glob("units/*/*/DONE"))) >= 5)
    first.remove_node(first.head_node, allow_graceful=False)
    begun = time.monotonic()
    assert driver.wait(timeout=300) not in (0, 3), "without a head there is nobody to run anything"
    sys.stdout.write(f"the driver ended {time.monotonic() - begun:.0f} s after the head\n")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("units/*/*/DONE")}
    done = {json.loads(path.read_text())["task"] for path in before}
    lines = len((folder / "log.jsonl").read_text().splitlines())
    second = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        command = [sys.executable, "-c", FOLLOWER, str(tmp_path), second.address]
        assert subprocess.run(command, timeout=240).returncode == 0
    finally:
        second.shutdown()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(folder.glob("units/*/*/DONE"))) == 20
    again = [json.loads(line)[0][0] for line in (folder / "log.jsonl").read_text().splitlines()[lines:]]
    assert not set(again) & done


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing came of it in time"
        time.sleep(0.1)
