"""Units on several devices: real runs of two CPU processes (gloo)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.studies.ranks import ROOT, make_study, members, results, run_study, same, until
from vdmfewshot.cli import ranks
from vdmfewshot.studies.engine import PARTIAL
from vdmfewshot.studies.settings import Executor, Study
from vdmfewshot.studies.store import Failure, Store
from vdmfewshot.studies.units import Manifest

TWO = ("--executor.devices_per_unit", "2")
SHARDED = {"trainer.strategy": "sharded"}


# -- real runs --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_unit_on_two_devices_is_the_unit_on_one(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make_study(tmp_path, tiny, 2)
    assert run_study(file, tmp_path / "one") == 0
    assert run_study(file, tmp_path / "two", *TWO) == 0
    assert "each unit runs on 2 devices, in processes of its own; units are not stacked" in capsys.readouterr().out
    one, two = results(tmp_path / "one"), results(tmp_path / "two")
    same(one, two)
    assert {task: found["id"] for task, found in one.items()} == {task: found["id"] for task, found in two.items()}
    assert not members(tmp_path)


@pytest.mark.slow
def test_a_unit_whose_weights_are_shared_out_is_the_unit_on_one_device(tiny: Path, tmp_path: Path) -> None:
    assert run_study(make_study(tmp_path, tiny, 1), tmp_path / "one") == 0
    assert run_study(make_study(tmp_path, tiny, 1, **SHARDED), tmp_path / "two", *TWO) == 0
    same(results(tmp_path / "one"), results(tmp_path / "two"))


@pytest.mark.slow
def test_a_unit_on_two_devices_of_a_ray_worker_is_that_of_two_devices_here(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    file = make_study(tmp_path, tiny, 2)
    on_ray = ("--executor.kind", "ray", "--executor.workers", "1")
    assert run_study(file, tmp_path / "ray", *TWO, *on_ray) == 0
    ray.shutdown()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the worker has it
    assert run_study(file, tmp_path / "here", *TWO) == 0
    here, there = results(tmp_path / "here"), results(tmp_path / "ray")
    for task, found in here.items():
        assert there[task]["score"] == found["score"]
        assert all(torch.equal(there[task]["weights"][name], weight) for name, weight in found["weights"].items())


@pytest.mark.slow
def test_a_rank_that_dies_and_an_error_fail_their_units_and_no_other(tiny: Path, tmp_path: Path) -> None:
    file = make_study(tmp_path, tiny, 1)
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"axes": {"lr": [0.01, 0.02, 1e39]}}))

    def kill() -> None:
        victim = until(lambda: [pid for pid, rank in members(tmp_path).items() if rank == 1])[0]
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert run_study(file, tmp_path / "out", *TWO) == PARTIAL
    killer.join()
    manifest, failures = Manifest.read(tmp_path / "out/pairs"), Store(tmp_path / "out/pairs").failures()
    assert manifest is not None
    killed, done, broken = (failures.get(unit.id) for unit in manifest.units)
    assert done is None
    assert killed is not None
    assert broken is not None
    assert (killed.kind, killed.reason) == ("crash", "a process of the unit was killed (SIGKILL)")
    assert (broken.kind, broken.reason.partition(":")[0]) == ("error", "RuntimeError"), "the rate is no float32"
    assert not members(tmp_path)


@pytest.mark.slow
def test_nothing_of_a_unit_outlives_a_study_that_is_killed(tiny: Path, tmp_path: Path) -> None:
    file = make_study(tmp_path, tiny, 1, **{"trainer.max_steps": 100_000})
    command = [sys.executable, "-m", "vdmfewshot", "study", "-c", str(file), "--out", str(tmp_path / "out"), *TWO]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    try:
        until(lambda: len(members(tmp_path)) == 2, 900)
    finally:
        driver.kill()
        driver.wait()
    until(lambda: not members(tmp_path), 20)


def test_the_first_to_fail_says_why(tmp_path: Path) -> None:
    assert ranks.failure_of(0, tmp_path) is None
    (tmp_path / ranks.LOG).write_text("last words")
    died = ranks.failure_of(-signal.SIGKILL, tmp_path)
    assert died == Failure("crash", "a process of the unit was killed (SIGKILL)", details="last words")
    ranks.tell(tmp_path, Failure("oom", "out of memory"))
    ranks.tell(tmp_path, Failure("error", "the other has gone"))
    assert ranks.failure_of(1, tmp_path) == Failure("oom", "out of memory")


# -- settings ---------------------------------------------------------------------------------------------------------


def test_devices_share_the_batches_of_one(tiny: Path, tmp_path: Path) -> None:
    from vdmfewshot.cli.planner import arguments, share
    from vdmfewshot.cli.resolved import resolve
    from vdmfewshot.studies.settings import read_study

    file = make_study(tmp_path, tiny, 1, **{"trainer.accumulate_grad_batches": 2})
    found = read_study(file, {"executor.devices_per_unit": 2})
    cli = resolve(arguments(found, {}))
    assert [share(cli, devices) for devices in (1, 2, 4, 8)] == [(4, 2), (2, 2), (1, 2), (1, 1)]
    assert [share(cli, devices, 1) for devices in (1, 2)] == [(1, 2), (1, 1)]
    with pytest.raises(ValueError, match="must divide batch_size x trainer.accumulate_grad_batches.* got 3 for 4 x 2"):
        share(cli, 3)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"devices_per_unit": 0}, "executor.devices_per_unit must be a whole number from 1, got 0"),
        ({"devices_per_unit": 2, "num_gpus": 0.5}, "units of 2 share no card, got 0.5"),
    ],
)
def test_mistakes_name_rule_and_value(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Executor(**options)


def test_units_of_several_devices_do_not_stack() -> None:
    assert Study(("x.yaml",), stack=8).stack_size == 8
    assert Study(("x.yaml",), stack=8, executor=Executor(devices_per_unit=2)).stack_size == 1
