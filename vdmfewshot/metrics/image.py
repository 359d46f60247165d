"""Image-to-image scores: PSNR, SSIM and mean absolute error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics.sums import SumMetric, divide

#: PSNR of equal images, whose true value is infinite and would drown every mean
MAX_PSNR_DB = 100.0
#: side of SSIM's Gaussian window; smaller images are enlarged until it fits
SSIM_WINDOW = 11


class ImageMetric(SumMetric):
    """Similarity of RGB images, each score the mean over images.

    - ``psnr_db``: peak signal-to-noise ratio in dB, 0 … 100 (equal images count 100).
    - ``ssim``: structural similarity (Wang et al. 2004; torchmetrics), negative values count 0.
    - ``mae``: mean absolute error as a fraction of the value range; *lower* is better.

    A missing or malformed prediction counts as the worst value: 0 dB, SSIM 0, error 1. Of K attempts the first counts.
    """

    higher_is_better = True
    main = "psnr_db"
    open_ended = frozenset({"psnr_db"})

    def __init__(self) -> None:
        super().__init__(size=4)

    def measure(self, attempts: Sequence[Decoded[Any]], pair: Pair) -> dict[str, Any]:
        """Compare the first attempt with ``pair.target``, both (h, w, 3) in [0, 255].

        Raises:
            ValueError: if the truth is no (h, w, 3) image.
        """
        truth = _as_image(pair.target)
        if truth is None:
            raise ValueError(f"{pair.key}: target must be a (h, w, 3) image, got {type(pair.target).__name__}")
        predicted = _as_image(attempts[0].label) if attempts else None
        if predicted is None or predicted.shape != truth.shape:
            reason = "no prediction" if not attempts else "prediction is no image of the target's size"
            return {"psnr_db": 0.0, "ssim": 0.0, "mae": 1.0, "failure": reason}
        return {
            "psnr_db": psnr_db(predicted, truth),
            "ssim": max(0.0, ssim(predicted, truth)),
            "mae": float((predicted - truth).abs().mean()),
            "failure": None,
        }

    def statistics(self, record: Mapping[str, Any]) -> NDArray[np.float64]:
        """[PSNR, SSIM, absolute error, 1]."""
        return np.array([record["psnr_db"], record["ssim"], record["mae"], 1.0], dtype=np.float64)

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Means over images."""
        return {name: divide(sums[..., i], sums[..., -1]) for i, name in enumerate(("psnr_db", "ssim", "mae"))}


def psnr_db(predicted: Tensor, truth: Tensor) -> float:
    """PSNR in dB of (1, 3, h, w) images in [0, 1], at most ``MAX_PSNR_DB``."""
    if torch.equal(predicted, truth):
        return MAX_PSNR_DB
    return min(MAX_PSNR_DB, float(peak_signal_noise_ratio(predicted, truth, data_range=1.0)))


def ssim(predicted: Tensor, truth: Tensor) -> float:
    """SSIM in [-1, 1] of (1, 3, h, w) images in [0, 1]; pixels are repeated where the window would not fit."""
    factor = math.ceil((SSIM_WINDOW + 1) / min(truth.shape[-2:]))
    if factor > 1:
        predicted, truth = (x.repeat_interleave(factor, -1).repeat_interleave(factor, -2) for x in (predicted, truth))
    return float(structural_similarity_index_measure(predicted, truth, data_range=1.0))


def _as_image(label: Any) -> Tensor | None:
    """A finite (h, w, 3) array in [0, 255] as (1, 3, h, w) float64 in [0, 1]; ``None`` for anything else."""
    if not isinstance(label, np.ndarray) or label.ndim != 3 or label.shape[2] != 3 or label.size == 0:
        return None
    if label.dtype.kind not in "uif" or not np.isfinite(label).all():
        return None
    image = torch.from_numpy(np.clip(label, 0, 255).astype(np.float64) / 255.0)
    return image.permute(2, 0, 1).unsqueeze(0).contiguous()
