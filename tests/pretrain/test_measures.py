"""Ceilings, probe tasks and sample sheets measure what they say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vdmfewshot.pretrain.ceilings import board_ceiling, keypoint_ceiling, mask_ceiling, psnr, report
from vdmfewshot.pretrain.probe import TASKS, write_tasks
from vdmfewshot.pretrain.samples import sheet


class Wire:
    """An autoencoder that carries everything, or the mean of its frames only."""

    def __init__(self, perfect: bool) -> None:
        self.perfect = perfect

    def encode(self, pixels: torch.Tensor) -> Any:
        carried = pixels if self.perfect else pixels.mean((1, 2, 3, 4), keepdim=True).expand_as(pixels)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: carried))

    def decode(self, latents: torch.Tensor) -> Any:
        return SimpleNamespace(sample=latents)


def test_a_perfect_autoencoder_reaches_every_ceiling() -> None:
    scores = report(Wire(perfect=True), 64, 2, boards=(10, 20))  # type: ignore[arg-type]
    assert scores["boards_10x10"] == scores["boards_20x20"] == scores["mask_iou"] == 1.0
    assert scores["keypoint_oks"] > 0.97
    assert scores["photo_psnr"] > 90


def test_an_autoencoder_that_carries_nothing_scores_nothing() -> None:
    blind: Any = Wire(perfect=False)
    assert board_ceiling(blind, 10, 64, 2) == (0.0, 0.0)
    assert keypoint_ceiling(blind, 64, 2) == 0.0
    assert mask_ceiling(blind, 64, 2) < 0.6


def test_thirty_cells_need_more_than_64_px() -> None:
    wire: Any = Wire(perfect=True)
    assert "boards_30x30" not in report(wire, 64, 1)
    assert board_ceiling(wire, 30, 96, 2) == (1.0, 1.0)


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    assert psnr(black, black + np.uint8(255)) == pytest.approx(0.0)
    assert psnr(black, black + np.uint8(51)) == pytest.approx(20 * np.log10(5))


def test_probe_tasks_are_repeatable_folders_of_pairs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tasks(tmp_path / name, 32, shots=2, queries=1)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(files) == len(TASKS) * 3 * 2
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    pair = [cv2.imread(str(tmp_path / "a" / "flip" / "train" / kind / "00.png")) for kind in ("input", "target")]
    np.testing.assert_array_equal(pair[0], pair[1][:, ::-1])


def test_silhouettes_cover_some_of_the_picture(tmp_path: Path) -> None:
    write_tasks(tmp_path, 32, shots=4, queries=0)
    for file in (tmp_path / "segment" / "train" / "target").iterdir():
        silhouette = cv2.imread(str(file))
        assert set(np.unique(silhouette)) == {0, 255}


def test_a_sheet_has_a_row_a_clip() -> None:
    clips = np.zeros((3, 9, 8, 8, 3), np.uint8)
    assert sheet(clips, clips).shape == (3 * 8, 2 * 5 * 8 + 4, 3)
