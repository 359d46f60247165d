"""Checkpoints survive crashes and damage: fault tests C1, C2, C7, C8 and X3."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from itertools import count
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
import torch

from vdmfewshot.training.checkpoint import AtomicCheckpointIO, verify

CONTENT = {"state_dict": {"a": torch.arange(5000.0)}, "global_step": 3, "nested": [1, {"b": "c"}]}


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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nowhere\.ckpt"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "nowhere.ckpt")


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "evil.ckpt"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(canary),)

    AtomicCheckpointIO().save_checkpoint({"state_dict": Evil()}, file)  # well-formed and checksummed
    with pytest.raises(pickle.UnpicklingError):
        AtomicCheckpointIO().load_checkpoint(file)
    assert not canary.exists()


def test_a_full_disk_leaves_the_previous_checkpoint(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        AtomicCheckpointIO().save_checkpoint({"global_step": 4}, file)
    assert AtomicCheckpointIO().load_checkpoint(file)["global_step"] == 3
    assert [p.name for p in file.parent.iterdir()] == ["last.ckpt"]


def write_for_ever(file: Path, saved: Event) -> None:
    """Child: one checkpoint after the other, of arrays filled with the number of the step."""
    for step in count():
        filled = torch.from_numpy(np.full(300_000, step, np.float32))  # numpy: torch's threads do not survive a fork
        AtomicCheckpointIO().save_checkpoint({"step": step, "a": filled}, file)
        saved.set()


def test_kill_during_save_never_leaves_a_broken_file(tmp_path: Path) -> None:
    rng, file, fork = np.random.default_rng(0), tmp_path / "last.ckpt", multiprocessing.get_context("fork")
    steps = []
    for _ in range(10):
        saved = fork.Event()
        process = fork.Process(target=write_for_ever, args=(file, saved), daemon=True)
        process.start()
        assert saved.wait(60), "the first complete save"
        time.sleep(float(rng.uniform(0, 0.05)))
        process.kill()
        process.join()
        loaded = AtomicCheckpointIO().load_checkpoint(file)
        assert torch.equal(loaded["a"], torch.full((300_000,), float(loaded["step"])))
        steps.append(loaded["step"])
    assert max(steps) > 0, "some were killed in a later save"
    AtomicCheckpointIO().save_checkpoint(CONTENT, file)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"], "what killed writers left is removed"
