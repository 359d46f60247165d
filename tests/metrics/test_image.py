from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.metrics.samples import pair, score
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics import ImageMetric


def test_agrees_with_scikit_image():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (200, 160, 3)).astype(np.float64)
    y = np.clip(x + rng.normal(0, 60, x.shape), 0, 255)
    row = ImageMetric().measure([Decoded(y, 1.0)], pair("a", x.astype(np.uint8)))
    assert row["psnr_db"] == pytest.approx(peak_signal_noise_ratio(x, y, data_range=255), abs=1e-5)
    reference = structural_similarity(
        x, y, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    # scikit-image leaves a border of 5 pixels out, torchmetrics mirrors the image there
    assert row["ssim"] == pytest.approx(reference, abs=2e-3)
    assert reference < 0.9
    assert row["mae"] == pytest.approx(np.abs(x - y).mean() / 255, abs=1e-12)


def test_equal_images_stay_finite():
    truth = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    row = ImageMetric().measure([Decoded(truth.astype(np.float32), 1.0)], pair("a", truth))
    assert (row["psnr_db"], row["ssim"], row["mae"]) == (100.0, pytest.approx(1.0), 0.0)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (11, 11), (12, 12)])
def test_images_smaller_than_the_window(size):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    row = ImageMetric().measure([Decoded(255 - truth, 1.0)], pair("a", truth))
    assert 0 <= row["ssim"] < 0.9
    assert np.isfinite(row["psnr_db"])


@pytest.mark.parametrize("label", [np.zeros((4, 5, 3)), np.full((8, 8, 3), np.nan), np.zeros((8, 8)), None])
def test_malformed_prediction_is_the_worst(label):
    metric = ImageMetric()
    row = metric.measure([Decoded(label, 1.0)], pair("a", np.full((8, 8, 3), 255, dtype=np.uint8)))
    assert row["failure"]
    assert score(metric, [row]) == {"psnr_db": 0.0, "ssim": 0.0, "mae": 1.0}


def test_opposite_image_is_as_bad_as_none():
    white = np.full((12, 12, 3), 255, dtype=np.uint8)
    row = ImageMetric().measure([Decoded(np.zeros_like(white), 1.0)], pair("a", white))
    assert (row["psnr_db"], row["mae"]) == (pytest.approx(0.0, abs=1e-12), 1.0)
