"""Checkpoints in small files: whole, in order of importance, and never half written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vdmfewshot.pretrain import shards


def test_tensors_and_state_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {f"t{i}": torch.randn(5 + i) for i in range(9)}
    monkeypatch.setattr(shards.packed, "__defaults__", (100,))
    shards.save(tmp_path / "a", tensors, {"step": 3, "name": "x"})
    assert len(list((tmp_path / "a").iterdir())) > 3
    loaded, state = shards.load(tmp_path / "a")
    assert (state["step"], state["name"]) == (3, "x")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_smaller_checkpoint_leaves_no_shard_of_a_larger_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards.packed, "__defaults__", (100,))
    shards.save(tmp_path, {f"t{i}": torch.zeros(20) for i in range(5)}, {"step": 1})
    shards.save(tmp_path, {"t0": torch.ones(20)}, {"step": 2})
    tensors, state = shards.load(tmp_path)
    assert list(tensors) == ["t0"]
    assert state["step"] == 2


def test_a_write_that_fails_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    shards.save(out, {"t": torch.ones(3)}, {"step": 1})
    monkeypatch.setattr(shards, "save_file", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        shards.save(out, {"t": torch.zeros(3)}, {"step": 2})
    tensors, state = shards.load(out)
    assert state["step"] == 1
    assert tensors["t"].all()


def test_a_missing_shard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards.packed, "__defaults__", (100,))
    shards.save(tmp_path, {f"t{i}": torch.zeros(20) for i in range(3)}, {"step": 1})
    (tmp_path / "checkpoint-1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="holds 2 of 3 shards"):
        shards.load(tmp_path)


def test_what_matters_most_is_kept() -> None:
    groups = [{"a": torch.zeros(4)}, {"b": torch.zeros(100)}, {"c": torch.zeros(4)}]
    assert list(shards.fits(groups, 40)) == ["a", "c"]


def test_default_sizes_keep_within_eight_files() -> None:
    assert -(-shards.TOTAL // shards.SHARD) + 2 <= 8
    assert shards.TOTAL < 64 * 2**20
