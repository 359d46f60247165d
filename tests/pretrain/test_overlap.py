"""No evaluation picture is in the corpus, not even as a near copy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import vdmfewshot
from vdmfewshot.drawing.canvas import HELD_OUT_PHOTOS, TRAIN_PHOTOS, Frame, photo_bank
from vdmfewshot.pretrain.corpus import clip

SAMPLES = Path(vdmfewshot.__file__).parent / "data" / "samples"
SIDE = 24


def thumbnail(frame: Frame) -> np.ndarray:
    """Grey (SIDE²,) picture of mean 0 and length 1; zeros if it is flat."""
    grey = cv2.resize(
        cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY), (SIDE, SIDE), None, 0, 0, cv2.INTER_AREA
    )
    values = grey.astype(np.float64).ravel()
    values -= values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-9) * (values.std() > 3)


def likeness(first: list[Frame], second: list[Frame]) -> float:
    """Largest correlation of any picture of one list with any picture, or mirrored one, of the other."""
    a, b = (np.stack([thumbnail(f) for f in frames]) for frames in (first, second))
    mirrored = np.stack([thumbnail(f[:, ::-1]) for f in second])
    return float(max((a @ b.T).max(), (a @ mirrored.T).max()))


@pytest.fixture(scope="module")
def evaluation() -> list[Frame]:
    files = sorted(f for f in SAMPLES.rglob("*") if f.suffix in {".png", ".jpg"})
    assert len(files) > 100
    return [cv2.cvtColor(cv2.imread(str(f)), cv2.COLOR_BGR2RGB) for f in files]


def test_the_scan_finds_a_brightened_mirrored_copy(evaluation: list[Frame]) -> None:
    copies = [np.clip(frame[:, ::-1].astype(int) * 0.8 + 20, 0, 255).astype(np.uint8) for frame in evaluation[::10]]
    assert likeness(evaluation[:1], [copies[0]]) > 0.98


def test_no_clip_shows_an_evaluation_picture(evaluation: list[Frame]) -> None:
    clips = [frame for index in range(250) for frame in clip(1, index, 64)[[0, -1]]]
    assert likeness(evaluation, clips) < 0.95


def test_no_evaluation_picture_is_a_photo_of_the_corpus(evaluation: list[Frame]) -> None:
    photos = list(photo_bank(TRAIN_PHOTOS))
    assert photos
    assert likeness(evaluation, photos) < 0.9


def test_held_out_photos_are_held_out() -> None:
    assert not set(TRAIN_PHOTOS) & set(HELD_OUT_PHOTOS)
    assert likeness(list(photo_bank(TRAIN_PHOTOS)), list(photo_bank(HELD_OUT_PHOTOS))) < 0.9
