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
import pytest
import torch

from tests.runs import options, run
from tests.tiny_training import adapter_weights, make_data, make_module, make_trainer
from vdmfewshot.cli import front
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


RANKS = """
import sys, os
from pathlib import Path
from lightning.pytorch import Callback
from tests.tiny_training import make_data, make_module, make_trainer

class Ready(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 3:
            (Path(sys.argv[3]) / f"rank{trainer.global_rank}").write_text(str(os.getpid()))

if __name__ == "__main__":
    tiny, root, folder = map(Path, sys.argv[1:4])
    trainer = make_trainer(folder, 100_000, strategy="ddp", devices=2, callbacks=[Ready()])
    trainer.fit(make_module(tiny), datamodule=make_data(root))
"""


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_rank_dies_all_end(
    victim: int, tiny: Path, pairs_root: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tiny), str(pairs_root), str(tmp_path)]
    main = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until(lambda: len(list(tmp_path.glob("rank?"))) == 2, 240)
        pids = [int((tmp_path / f"rank{rank}").read_text()) for rank in (0, 1)]
        os.kill(pids[victim], signal.SIGKILL)
        killed = time.monotonic()
        assert main.wait(timeout=60) != 0
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 60)
        record_property("seconds", time.monotonic() - killed)
    finally:
        main.kill()
        main.wait()


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
