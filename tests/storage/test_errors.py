"""Full and locked disks, for real: a tmpfs of a few kilobytes (fault test C7)."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.clips.test_clip import IMAGE
from vdmfewshot.backbones.base import Latents
from vdmfewshot.callbacks.predictions import save_png
from vdmfewshot.clips.clip import Clip, Pair, collate, to_frame
from vdmfewshot.lora.adapters import ADAPTER, LoraArgs, Manifest, inject
from vdmfewshot.lora.export import save_adapter
from vdmfewshot.metrics.records import write_atomically
from vdmfewshot.storage.errors import DiskFullError, StorageError, storage_error, writing
from vdmfewshot.storage.tensors import save_tensors
from vdmfewshot.training.cache import LatentCache
from vdmfewshot.training.checkpoint import AtomicCheckpointIO

NOISE = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
BIG = torch.from_numpy(NOISE.copy()).float()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for 200 KB, of which 120 KB are free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        (folder / "filler").write_bytes(b"x" * 80_000)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Pipeline:
    """Writes as diffusers' pipelines do."""

    @staticmethod
    def save_lora_weights(folder: Path, **kwargs: object) -> None:
        save_file({"a": BIG}, folder / "pytorch_lora_weights.safetensors")


def adapter(folder: Path) -> None:
    from diffusers import CogVideoXTransformer3DModel

    model = CogVideoXTransformer3DModel(
        num_attention_heads=1, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=2, num_layers=1,
        text_embed_dim=4, max_text_seq_length=2, sample_width=4, sample_height=4, sample_frames=5,
    )  # fmt: skip
    inject(model, LoraArgs(rank=1), r".*to_q", seed=0)
    assert ADAPTER in model.peft_config
    save_adapter(folder, model, Pipeline, Manifest({"path": "base", "fingerprint": "f"}, {}, {}, "task"))


WRITERS: dict[str, Callable[[Path], object]] = {
    "checkpoint": lambda file: AtomicCheckpointIO().save_checkpoint({"state_dict": {"a": BIG}}, file),
    "adapter": adapter,
    "prediction": lambda file: save_png(file, NOISE),
    "records": lambda file: write_atomically(file, "x" * 1_000_000),
    "tensors": lambda file: save_tensors(file, {"a": BIG}, {}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_message_and_leaves_what_was_there(name: str, disk: Path) -> None:
    file = disk / "thing"
    if name == "adapter":
        file.mkdir()
    else:
        file.write_text("previous")
    with pytest.raises(DiskFullError, match=r"^disk full: .*/thing.* cannot be written; free some space"):
        WRITERS[name](file)
    assert {path.name for path in disk.iterdir()} == {"filler", "thing"}, "no draft is left"
    assert file.is_dir() or file.read_text() == "previous"


@pytest.mark.parametrize("name", WRITERS)
def test_a_read_only_disk_is_one_message(name: str, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StorageError, match=r"thing.* cannot be written: the folder is read-only"):
        WRITERS[name](disk / "thing")


def test_latents_find_another_place(disk: Path) -> None:
    frames = to_frame(IMAGE)[None].repeat(2, 1, 1, 1)
    cache = LatentCache("vae", disk / "cache")
    with pytest.warns(UserWarning, match="latents are kept in memory only: disk full: "):
        cache.get(collate([Clip(frames, Pair("k", IMAGE))]), lambda frames: Latents(BIG[None], {}))
    cache.get(collate([Clip(frames, Pair("k", IMAGE))]), lambda frames: pytest.fail("encoded twice"))


def test_other_failures_are_left_alone(tmp_path: Path) -> None:
    for error in (ValueError("wrong"), OSError(errno.EIO, "broken"), KeyError("k")):
        assert storage_error(error) is None
        with pytest.raises(type(error)), writing(tmp_path / "a"):
            raise error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_cause_is_found_and_named(number: int) -> None:
    outer = RuntimeError("unexpected pos 704 vs 598")
    outer.__context__ = OSError(number, os.strerror(number), "metrics.csv")
    assert str(storage_error(outer)).startswith("disk full: metrics.csv cannot be written")
