"""Groups of processes that end together, whatever happens to whoever started them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.studies.ranks import ROOT, until
from vdmfewshot.studies.group import own_environment, run_group

TREE = """
import subprocess, sys, time
from pathlib import Path
from vdmfewshot.studies.group import end_with_parent
end_with_parent()
folder, rank = Path(sys.argv[1]), int(sys.argv[2])
if rank == 0:
    subprocess.Popen([sys.executable, *sys.argv[:2], "1"])
(folder / f"rank{rank}").touch()
time.sleep(600 if rank else float(sys.argv[3]))
print("done")
"""


def tree(folder: Path, seconds: float) -> list[str]:
    """A process that starts another and sleeps for some seconds; the other for longer."""
    (folder / "tree.py").write_text(TREE)
    return [sys.executable, str(folder / "tree.py"), str(folder), "0", str(seconds)]


def started(folder: Path) -> bool:
    return all((folder / f"rank{rank}").exists() for rank in (0, 1))


def living(folder: Path) -> int:
    found = 0
    for entry in Path("/proc").iterdir():
        try:
            found += entry.name.isdigit() and str(folder / "tree.py").encode() in (entry / "cmdline").read_bytes()
        except OSError:
            continue
    return found


@pytest.fixture
def environment() -> dict[str, str]:
    return own_environment({**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_group_ends_with_its_first_process(tmp_path: Path, environment: dict[str, str]) -> None:
    assert run_group(tree(tmp_path, 2), tmp_path / "log.txt", environment) == 0
    until(lambda: not living(tmp_path), 10)
    assert (tmp_path / "log.txt").read_text() == "done\n"


def test_a_group_ends_when_nobody_waits_for_it_any_more(tmp_path: Path, environment: dict[str, str]) -> None:
    def ring(*_: Any) -> None:
        raise TimeoutError("too late")

    before = signal.signal(signal.SIGUSR2, ring)
    impatient = threading.Thread(
        target=lambda: (until(lambda: started(tmp_path)), os.kill(os.getpid(), signal.SIGUSR2))
    )
    impatient.start()
    try:
        with pytest.raises(TimeoutError, match="too late"):
            run_group(tree(tmp_path, 600), tmp_path / "log.txt", environment)
    finally:
        signal.signal(signal.SIGUSR2, before)
        impatient.join()
    until(lambda: not living(tmp_path), 10)


PARENT = """
import json, os, sys
from pathlib import Path
from vdmfewshot.studies.group import run_group
run_group(json.loads(sys.argv[1]), Path(sys.argv[2]), os.environ)
"""


def test_a_group_ends_when_its_parent_is_killed(tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", PARENT, json.dumps(tree(tmp_path, 600)), str(tmp_path / "log.txt")]
    parent = subprocess.Popen(command, env=environment)
    until(lambda: started(tmp_path))
    parent.kill()
    parent.wait()
    until(lambda: not living(tmp_path), 10)


def test_ranks_are_numbered_anew_whoever_has_started_this_process() -> None:
    outside = {
        "SLURM_NTASKS": "8",
        "TORCHELASTIC_RUN_ID": "x",
        "RANK": "3",
        "MASTER_PORT": "1",
        "CUDA_VISIBLE_DEVICES": "2,3",
    }
    inside = own_environment(outside)
    assert set(inside) == {"CUDA_VISIBLE_DEVICES", "MASTER_PORT", "PYTHONSAFEPATH"}
    assert 20_000 <= int(inside["MASTER_PORT"]) < 30_000
