"""Checkpoints survive crashes and damage: fault tests C1, C2, C7, C8 and X3."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vdmfewshot.storage.atomic import replacing, sweep
from vdmfewshot.storage.errors import DamagedFileError
from vdmfewshot.training.checkpoint import AtomicCheckpointIO, previous, refuse_code, usable, verify

CONTENT = {
    "state_dict": {"a": torch.arange(5000.0)},
    "global_step": 3,
    "nested": [1, {"b": "c"}],
    "pytorch-lightning_version": "2.6.0",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    return path


def test_what_is_saved_is_loaded(file: Path) -> None:
    loaded = AtomicCheckpointIO().load_checkpoint(file)
    assert torch.equal(loaded["state_dict"]["a"], CONTENT["state_dict"]["a"])  # type: ignore[index]
    assert loaded["nested"] == [1, {"b": "c"}]


def test_plain_torch_reads_it_too(file: Path) -> None:
    assert torch.load(file, weights_only=True)["global_step"] == 3


def test_every_flipped_byte_is_found(file: Path) -> None:
    data, rng = file.read_bytes(), np.random.default_rng(0)
    for position in rng.choice(len(data), 200, replace=False):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"last\.ckpt is damaged"):
            AtomicCheckpointIO().load_checkpoint(file)


@pytest.mark.parametrize("kept", [0, 10, 200, -1, -72])
def test_truncation_is_found(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match="damaged"):
        verify(file)


@pytest.mark.parametrize("content", [b"", b"sha256:" + b"0" * 64, b"PK\x05\x06"])
def test_what_holds_nothing_but_a_checksum_is_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(DamagedFileError, match="damaged"):
        verify(tmp_path / "a.ckpt")


def test_a_file_of_another_tool_has_no_checksum(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "a.ckpt")
    with pytest.raises(DamagedFileError, match="was not written by vdmfewshot: it has no checksum"):
        verify(tmp_path / "a.ckpt")


def test_tensors_come_back_where_they_are_wanted(file: Path) -> None:
    where = [AtomicCheckpointIO().load_checkpoint(file, map_location=place) for place in (None, "meta")]
    assert [loaded["state_dict"]["a"].device.type for loaded in where] == ["cpu", "meta"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nowhere\.ckpt"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "nowhere.ckpt")


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "evil.ckpt"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(canary),)

    AtomicCheckpointIO().save_checkpoint({"state_dict": Evil()}, file)  # well-formed and checksummed
    with pytest.raises(DamagedFileError, match="holds more than tensors and plain values"):
        AtomicCheckpointIO().load_checkpoint(file)
    with pytest.raises(ValueError, match=r"evil\.ckpt holds more than tensors and plain values"):
        refuse_code(file)
    assert not canary.exists()


def test_a_checkpoint_without_code_is_not_refused(file: Path) -> None:
    refuse_code(file)


def test_a_full_disk_leaves_the_previous_checkpoint(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        AtomicCheckpointIO().save_checkpoint({**CONTENT, "global_step": 4}, file)
    assert AtomicCheckpointIO().load_checkpoint(file)["global_step"] == 3
    assert [p.name for p in file.parent.iterdir()] == ["last.ckpt"]


def write_for_ever(file: Path, saved: Semaphore) -> None:
    """Child: one checkpoint after the other, of arrays filled with the number of the step."""
    for step in count():
        filled = torch.from_numpy(np.full(300_000, step, np.float32))  # numpy: torch's threads do not survive a fork
        AtomicCheckpointIO().save_checkpoint({**CONTENT, "global_step": step, "a": filled}, file)
        saved.release()


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_during_save_never_leaves_a_broken_file(kills: int, tmp_path: Path) -> None:
    rng, file, fork = np.random.default_rng(0), tmp_path / "last.ckpt", multiprocessing.get_context("fork")
    steps = []
    for _ in range(kills):
        saved = fork.Semaphore(0)
        process = fork.Process(target=write_for_ever, args=(file, saved), daemon=True)
        process.start()
        for _ in range(int(rng.integers(1, 4))):
            assert saved.acquire(timeout=60), "one to three complete saves"
        time.sleep(float(rng.uniform(0, 0.05)))
        process.kill()
        process.join()
        loaded = AtomicCheckpointIO().load_checkpoint(file)
        assert torch.equal(loaded["a"], torch.full((300_000,), float(loaded["global_step"])))
        steps.append(loaded["global_step"])
    assert max(steps) > 0, "some were killed in a later save"
    AtomicCheckpointIO().load_checkpoint(file)
    assert {p.name for p in tmp_path.iterdir()} == {"last.ckpt", "previous-last.ckpt"}, "nothing of killed writers"


def die_at(call: int, file: Path) -> None:
    """Child: a third save, killed just before the so manieth change of a name."""
    calls = count()

    def dying(change: Callable[..., None]) -> Callable[..., None]:
        def changed(*names: Path) -> None:
            if next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            change(*names)

        return changed

    os.link, os.replace = dying(os.link), dying(os.replace)
    AtomicCheckpointIO().save_checkpoint({**CONTENT, "global_step": 3}, file)


@pytest.mark.parametrize("call", [0, 1, 2, 3])
def test_kill_between_two_changes_of_names_loses_nothing(call: int, tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint({**CONTENT, "global_step": step}, file)
    process = multiprocessing.get_context("fork").Process(target=die_at, args=(call, file))
    process.start()
    process.join(60)
    assert process.exitcode == (-signal.SIGKILL if call < 3 else 0)
    assert AtomicCheckpointIO().load_checkpoint(file)["global_step"] == (2 if call < 3 else 3)
    assert not list(tmp_path.glob("*.tmp"))


# -- the one before ---------------------------------------------------------------------------------------------------


def test_a_damaged_checkpoint_has_a_predecessor(file: Path) -> None:
    AtomicCheckpointIO().save_checkpoint({**CONTENT, "global_step": 4}, file)
    assert AtomicCheckpointIO().load_checkpoint(file)["global_step"] == 4
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged.*going on from the one before it, .*previous-last"):
        assert AtomicCheckpointIO().load_checkpoint(file)["global_step"] == 3
    file.unlink()
    with pytest.warns(UserWarning, match=r"no checkpoint at .*going on"):
        assert usable(file) == previous(file)
    previous(file).write_bytes(b"")
    with pytest.raises(DamagedFileError, match=r"previous-last\.ckpt is damaged"):
        usable(file)


def test_removing_a_checkpoint_removes_both(file: Path) -> None:
    AtomicCheckpointIO().remove_checkpoint(file)
    assert list(file.parent.iterdir()) == [], "there was no predecessor"
    AtomicCheckpointIO().save_checkpoint(CONTENT, file)
    AtomicCheckpointIO().save_checkpoint(CONTENT, file)
    AtomicCheckpointIO().remove_checkpoint(file)
    assert list(file.parent.iterdir()) == []


def test_drafts_of_dead_writers_alone_are_swept(file: Path) -> None:
    with replacing(file.with_name("other.ckpt")) as draft:
        machine, process = draft.name.split(".")[-4:-2]
        assert process == str(os.getpid())
        dead = [draft.with_name(f".last.ckpt.{machine}.{2**22 + 1}.0.tmp"), draft.with_name(".a.elsewhere.1.0.tmp")]
        for orphan in dead:
            orphan.touch()
        AtomicCheckpointIO().load_checkpoint(file)
        assert draft.exists(), "its writer lives"
        assert not dead[0].exists()
        assert dead[1].exists(), "whether its writer lives cannot be seen from here"
        os.utime(dead[1], (0, 0))
        sweep(file.parent)
        assert not dead[1].exists()


@pytest.mark.parametrize("content", [{"model": 1}, {**CONTENT, "state_dict": None}, [1, 2]])
def test_a_checksummed_file_that_is_no_checkpoint_is_refused(content: Any, tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "a.ckpt")
    with pytest.raises(DamagedFileError, match=r"a\.ckpt is no checkpoint of a training run"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")


TRACED = """
import sys
from vdmfewshot.training.checkpoint import AtomicCheckpointIO
for step in range(2):
    AtomicCheckpointIO().save_checkpoint({"global_step": step}, sys.argv[1])
"""


def deeds(log: str, folder: Path) -> list[str]:
    """What was written, flushed and named, in order, and once where it was done twice in a row."""
    found: list[str] = []
    for call, rest in re.findall(r"\b(write|fsync|rename|link)\((.*)", log):
        paths = re.findall(re.escape(str(folder)) + r"(/[^>\"]*)?", rest)
        if paths:
            name = paths[-1].lstrip("/").replace(".a.ckpt.spare", "spare") or "folder"
            found.append(f"{call} {'draft' if name.endswith('.tmp') else name}")
    return [deed for deed, _ in itertools.groupby(found)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_kernel_sees_write_flush_rename_flush(tmp_path: Path) -> None:
    log = tmp_path / "log"
    calls = "trace=openat,write,fsync,rename,link,close"
    command = [
        "strace",
        "-f",
        "-y",
        "-e",
        calls,
        "-o",
        str(log),
        sys.executable,
        "-c",
        TRACED,
        str(tmp_path / "a.ckpt"),
    ]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    draft, folder = ["write draft", "fsync draft"], ["rename a.ckpt", "fsync folder"]
    kept = ["link spare", "rename previous-a.ckpt"]
    assert deeds(log.read_text(), tmp_path) == [*draft, *folder, *draft, *kept, "fsync draft", *folder]
