"""Ceilings are measured once per content and autoencoder, and equal to measuring them again."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.callbacks.ceiling import CeilingCache


class Encoder:
    """Halves contrast, and counts the pictures that it saw."""

    seen = 0

    def __call__(self, frames: Tensor) -> Tensor:
        self.seen += len(frames)
        return frames / 2


def frames() -> Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_second_run_reads_what_the_first_has_measured(tmp_path: Path) -> None:
    first, second = Encoder(), Encoder()
    known = CeilingCache("vae", 9, tmp_path).get(frames()[:2], first)
    again = CeilingCache("vae", 9, tmp_path).get(frames(), second)
    assert (first.seen, second.seen) == (2, 1)
    assert torch.equal(known, again[:2])
    assert (again - frames() / 2).abs().max() <= 1 / 255


def test_another_autoencoder_or_length_and_damage_are_misses(tmp_path: Path) -> None:
    CeilingCache("vae", 9, tmp_path).get(frames(), Encoder())
    for encoder, count in (("other", 9), ("vae", 5)):
        asked = Encoder()
        CeilingCache(encoder, count, tmp_path).get(frames(), asked)
        assert asked.seen == 3
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(file.read_bytes()[:-30])
    asked = Encoder()
    repaired = CeilingCache("vae", 9, tmp_path).get(frames(), asked)
    assert asked.seen == 3
    assert torch.equal(repaired, CeilingCache("vae", 9, tmp_path).get(frames(), asked))
    assert asked.seen == 3


def test_without_a_name_and_for_frames_that_are_not_finite_nothing_is_kept(tmp_path: Path) -> None:
    CeilingCache(None, 9, tmp_path).get(frames(), Encoder())
    assert CeilingCache("vae", 9, tmp_path).get(frames(), lambda x: x * torch.nan).isnan().all()
    assert not list(tmp_path.rglob("*.png"))


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert CeilingCache("vae", 9, tmp_path / "file").get(frames(), Encoder()).shape == (3, 3, 8, 8)


def test_one_frame_through_cogvideox_is_the_last_of_many(tiny: Path) -> None:
    backbone = CogVideoX(str(tiny))
    backbone.load()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = backbone.reconstruct(images.unsqueeze(1).repeat(1, 9, 1, 1, 1))[:, -1]
    torch.testing.assert_close(backbone.reconstruct_still(images, 9), whole, rtol=0, atol=1e-5)
