from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.clips.test_clip import IMAGE
from vdmfewshot.backbones.base import Latents
from vdmfewshot.clips.clip import Clip, ClipBatch, Pair, collate, to_frame
from vdmfewshot.storage.tensors import save_tensors
from vdmfewshot.training.cache import LatentCache, content_digest


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


def flip(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def foreign(file: Path) -> None:
    tensors = {"x0": torch.zeros(1, 2, 1, 4, 4)}
    save_tensors(file, tensors, {"frames": "other", "encoder": "vae", "content": content_digest(tensors)})


@pytest.mark.parametrize(
    "damage",
    [
        foreign,
        lambda file: file.write_bytes(b"no tensor"),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        *(lambda file, position=position: flip(file, position) for position in (0, 20, -1, -500)),
    ],
)
def test_damaged_entries_are_made_again(damage: Callable[[Path], object], tmp_path: Path) -> None:
    whole = LatentCache("vae", tmp_path).get(batch(0), CountingEncoder())
    (file,) = tmp_path.glob("*/*.safetensors")
    damage(file)
    encode = CountingEncoder()
    with pytest.warns(UserWarning, match=r"safetensors is damaged \(.+\) and is made again"):
        again = LatentCache("vae", tmp_path).get(batch(0), encode)
    assert encode.encoded == 1
    assert torch.equal(again.x0, whole.x0)
    LatentCache("vae", tmp_path).get(batch(0), encode)
    assert encode.encoded == 1, "it is whole again"


def test_latents_of_any_dtype_keep_their_content(tmp_path: Path) -> None:
    def half(frames: Tensor) -> Latents:
        return Latents(frames.bfloat16(), {})

    first, second = (LatentCache("vae", tmp_path).get(batch(0), half) for _ in range(2))
    assert first.x0.dtype == second.x0.dtype == torch.bfloat16
    assert torch.equal(first.x0, second.x0)
