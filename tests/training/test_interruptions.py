"""Runs that are ended from outside or share what they write (fault tests C6, W9 and two runs on one cache)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from tests.runs import options, run
from tests.tiny_training import adapter_weights, make_data, make_module, make_trainer
from vdmfewshot.cli import front
from vdmfewshot.cli.errors import LOST
from vdmfewshot.training.checkpoint import AtomicCheckpointIO

pytestmark = pytest.mark.usefixtures("meeting_port")

ROOT = Path(__file__).parents[2]


def forked(work: Callable[[], object]) -> int:
    """A child that does the work and leaves with its exit status."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        torch.set_num_threads(1)  # those of the parent do not survive the fork
        work()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    finally:
        os._exit(status)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.slow
def test_terminated_at_twenty_random_moments_a_run_goes_on(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    rng, args = np.random.default_rng(0), options(tiny, tmp_path, pairs_root)
    endless = ["fit", *args, "--trainer.max_steps=100000", "--trainer.log_every_n_steps=1"]
    steps = []
    for number in range(20):
        signalled = signal.SIGTERM if number % 2 else signal.SIGUSR1
        metrics = tmp_path / f"n{number}/version_0/metrics.csv"
        pid = forked(lambda: front.run([*endless, f"--name=n{number}"]))  # noqa: B023  (it runs at once)
        until(lambda: metrics.is_file() and metrics.stat().st_size > 0)  # noqa: B023
        time.sleep(float(rng.uniform(0, 1.5)))
        os.kill(pid, signalled)
        assert status_of(pid) == 128 + signal.SIGTERM
        last = tmp_path / f"n{number}/version_0/checkpoints/last.ckpt"
        steps.append(AtomicCheckpointIO().load_checkpoint(last)["global_step"])
        more = run("fit", *args, f"--name=r{number}", f"--ckpt_path={last}", f"--trainer.max_steps={steps[-1] + 2}")
        assert more.trainer.global_step == steps[-1] + 2
    assert len(set(steps)) > 5, steps


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp_cpu", "sharded_cpu"])
@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_rank_dies_all_end(
    victim: int,
    strategy: str,
    tiny: Path,
    pairs_root: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    endless = ["--trainer.max_steps=100000", "--trainer.log_every_n_steps=1", "--name=ranks"]
    trainer = f"--trainer={ROOT}/experiments/trainer/{strategy}.yaml"
    args = ["fit", trainer, *options(tiny, tmp_path, pairs_root), *endless]
    metrics, said = tmp_path / "ranks/version_0/metrics.csv", tmp_path / "said.txt"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with said.open("w") as stream:
        main = subprocess.Popen([sys.executable, "-m", "vdmfewshot", *args], env=env, stdout=stream, stderr=stream)
    try:
        until(lambda: (metrics.is_file() and metrics.stat().st_size > 0) or main.poll() is not None, 900)
        (other,) = [
            p for p in psutil.Process(main.pid).children(recursive=True) if p.environ().get("LOCAL_RANK") == "1"
        ]
        os.kill((main.pid, other.pid)[victim], signal.SIGKILL)
        killed = time.monotonic()
        assert main.wait(timeout=60) != 0
        psutil.wait_procs([other], timeout=60)
        assert not other.is_running()
        record_property("seconds", time.monotonic() - killed)
    finally:
        main.kill()
        main.wait()
    assert LOST in said.read_text()
    assert "Traceback" not in said.read_text()


def test_two_runs_share_a_cache(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    """At once, on an empty cache: both learn what a run without a cache learns, and no entry is damaged."""
    cache = tmp_path / "cache"

    def fit(name: str, **kwargs: object) -> None:
        module = make_module(tiny, **kwargs)
        make_trainer(tmp_path / name, 4, callbacks=[]).fit(module, datamodule=make_data(pairs_root, shots=5))
        torch.save(adapter_weights(module), tmp_path / f"{name}.pt")

    children = [forked(lambda: fit(name, cache_dir=str(cache))) for name in ("one", "other")]  # noqa: B023
    assert [status_of(pid) for pid in children] == [0, 0]
    fit("alone")
    alone, one, other = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("alone", "one", "other"))
    assert all(torch.equal(alone[name], one[name]) and torch.equal(alone[name], other[name]) for name in alone)
    assert len(list(cache.rglob("*.safetensors"))) == 5
    assert not list(cache.rglob("*.tmp"))
