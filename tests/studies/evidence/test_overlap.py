"""The honesty rule: the pretraining corpus holds no evaluation picture and no evaluation task."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vdmfewshot.data.evidence import TASKS
from vdmfewshot.data.generated.data import make_pair
from vdmfewshot.data.generated.pictures import MAPS
from vdmfewshot.data.generated.scenes import PHOTOS
from vdmfewshot.data.segmentation import MaskFolderDataModule
from vdmfewshot.drawing.canvas import TRAIN_PHOTOS
from vdmfewshot.pretrain.corpus import SOURCES, clip

CLIPS, SIZE, SIDE = 20, 64, 8
#: correlation of thumbnails above which two pictures are the same one
ALIKE = 0.995
#: mean difference, of 255, below which a clip shows a map
CLOSE = 8.0


@pytest.fixture(scope="module")
def corpus() -> np.ndarray:
    """(N, 9, 64, 64, 3) clips of every source."""
    return np.stack([clip(1, index, SIZE, source) for source in SOURCES for index in range(CLIPS)])


@pytest.fixture(scope="module")
def evaluation() -> np.ndarray:
    """(M, 64, 64, 3) query pictures: photos and scenes, nuclei, people."""
    shown = [make_pair(name, SIZE, "query", 0, i).image for name in ("invert", "colourise") for i in range(32)]
    for name in ("nuclei", "people"):
        data = TASKS[name].data(shots=1, height=SIZE, width=SIZE)
        data.setup()
        shown += [data.box(pair).place(pair.image) for pair in data.queries("test")]
    return np.stack(shown)


def thumbnails(frames: np.ndarray) -> np.ndarray:
    """(N, 192) thumbnails, each channel of mean 0, of length 1; flat pictures, which all look the same, become 0."""
    small = np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(float) for frame in frames])
    centred = (small - small.mean((1, 2), keepdims=True)).reshape(len(small), -1)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(length > 100, centred / np.maximum(length, 1e-9), 0)


def alike(frames: np.ndarray, pictures: np.ndarray) -> int:
    return int((thumbnails(frames) @ thumbnails(pictures).T > ALIKE).sum())


def test_no_photo_serves_both() -> None:
    assert not set(PHOTOS) & set(TRAIN_PHOTOS)


def test_no_frame_shows_an_evaluation_picture(corpus: np.ndarray, evaluation: np.ndarray) -> None:
    frames = corpus[:, [0, 4, 8]].reshape(-1, SIZE, SIZE, 3)
    assert alike(frames, evaluation) == 0


def test_the_scan_finds_a_planted_picture(corpus: np.ndarray, evaluation: np.ndarray) -> None:
    planted = corpus[:50, 0].copy()
    planted[7] = np.clip(evaluation[3] * 0.8 + 20 + np.random.default_rng(0).normal(0, 4, evaluation[3].shape), 0, 255)
    assert alike(planted, evaluation) >= 1


def shows(clips: np.ndarray, name: str) -> int:
    """Clips whose last frame is the map of the first one, unless that is nearly the first frame itself."""
    count = 0
    for first, last in zip(clips[:, 0], clips[:, -1], strict=True):
        mapped = MAPS[name](first).astype(float)
        moved = np.abs(mapped - first).mean() > 2 * CLOSE
        count += bool(moved and np.abs(mapped - last).mean() < CLOSE)
    return count


@pytest.mark.parametrize("name", sorted(MAPS))
def test_no_clip_shows_a_map(name: str, corpus: np.ndarray) -> None:
    assert shows(corpus, name) == 0


@pytest.mark.parametrize("name", sorted(MAPS))
def test_the_scan_finds_a_planted_map(name: str, corpus: np.ndarray) -> None:
    planted = corpus[:60].copy()
    for frames in planted:
        frames[4:] = MAPS[name](frames[0])
    assert shows(planted, name) > 10


def test_no_clip_turns_a_picture_into_a_mask(corpus: np.ndarray) -> None:
    """Black and white at the end, and not at the start."""
    last = corpus[:, -1].astype(int)
    black_and_white = ((last < 24) | (last > 231)).all(axis=(1, 2, 3)) & (last.std(axis=(1, 2, 3)) > 30)
    grey_last = (last.max(axis=3) - last.min(axis=3)).max(axis=(1, 2)) < 24
    first = corpus[:, 0].astype(int)
    colourful = (first.max(axis=3) - first.min(axis=3)).mean(axis=(1, 2)) > 24
    assert not (black_and_white & grey_last & colourful).any()


def test_real_tasks_ship_with_the_package() -> None:
    assert isinstance(TASKS["nuclei"].data(height=SIZE, width=SIZE), MaskFolderDataModule)
