from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.clips.test_clip import IMAGE
from vdmfewshot.backbones.base import Latents
from vdmfewshot.clips.clip import Clip, ClipBatch, Pair, collate, to_frame
from vdmfewshot.storage.tensors import save_tensors
from vdmfewshot.training.cache import LatentCache


class CountingEncoder:
    def __init__(self) -> None:
        self.encoded = 0

    def __call__(self, frames: Tensor) -> Latents:
        self.encoded += len(frames)
        return Latents(frames.mean(2, keepdim=True), {"image": frames[:, :1, :1] * 2})


def batch(*shifts: int) -> ClipBatch:
    frames = [to_frame(IMAGE)[None].repeat(2, 1, 1, 1).roll(s, -1) for s in shifts]
    return collate([Clip(f, Pair(f"k{s}", IMAGE)) for f, s in zip(frames, shifts, strict=True)])


def test_each_clip_is_encoded_once() -> None:
    encode, cache = CountingEncoder(), LatentCache("vae")
    first = cache.get(batch(0, 1, 0), encode)
    again = cache.get(batch(1, 2, 0), encode)
    assert encode.encoded == 3
    assert torch.equal(first.x0[1], again.x0[0])
    expected = encode(batch(1, 2, 0).frames)
    assert torch.equal(again.x0, expected.x0)
    assert torch.equal(again.condition["image"], expected.condition["image"])


def test_a_second_run_reads_from_disk(tmp_path: Path) -> None:
    first, second = CountingEncoder(), CountingEncoder()
    a = LatentCache("vae", tmp_path).get(batch(0, 1), first)
    b = LatentCache("vae", tmp_path).get(batch(0, 1), second)
    assert (first.encoded, second.encoded) == (2, 0)
    assert torch.equal(a.x0, b.x0)


def test_another_encoder_has_other_entries(tmp_path: Path) -> None:
    LatentCache("vae", tmp_path).get(batch(0), CountingEncoder())
    other = CountingEncoder()
    LatentCache("another vae", tmp_path).get(batch(0), other)
    assert other.encoded == 1


def test_foreign_and_damaged_entries_are_refused(tmp_path: Path) -> None:
    LatentCache("vae", tmp_path).get(batch(0), CountingEncoder())
    (file,) = tmp_path.glob("*/*.safetensors")
    save_tensors(file, {"x0": torch.zeros(1), "condition.image": torch.zeros(1)}, {"frames": "other", "encoder": "vae"})
    with pytest.raises(ValueError, match="stale or foreign"):
        LatentCache("vae", tmp_path).get(batch(0), CountingEncoder())
    file.write_bytes(b"not a tensor")
    with pytest.raises(ValueError, match="damaged"):
        LatentCache("vae", tmp_path).get(batch(0), CountingEncoder())
