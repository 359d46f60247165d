"""What a score is to be held against: the encoding ceiling and predictions that need no learning."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import torch
from torch import Tensor

from vdmfewshot.callbacks.ceiling import CeilingCache
from vdmfewshot.callbacks.evaluation import (
    TaskData,
    count_passes,
    decoders,
    drawings,
    gather,
    joiner,
    mean_drawings,
    score_clips,
    still_clip,
)
from vdmfewshot.clips.clip import ClipBatch, to_frame
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.records import Record, merge

CEILING = "ceiling"
BASELINES = ("copy_input", "mean_target")


class Reconstructs(Protocol):
    """The part of a backbone that the ceiling needs."""

    encoder_fingerprint: str | None

    def reconstruct_still(self, images: Tensor, num_frames: int) -> Tensor:
        """(B, 3, H, W) in [-1, 1] as still clips through the VAE's encoder and decoder: their last frames."""


class References:
    """Records of the encoding ceiling and of trivial baselines on one data set, each sample measured once.

    - ``ceiling``: decode(VAE(encode(truth))) of a still clip: no prediction through this VAE and codec can be
      expected to do better. Kept between runs, see ``CeilingCache``.
    - ``copy_input``: the input image taken for the answer.
    - ``mean_target``: the mean of the support set's targets taken for the answer to everything.

    Args:
        names: which of the three.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.records: dict[str, dict[str, Record]] = {name: {} for name in names}

    def add(self, batch: ClipBatch, data: TaskData, backbone: Reconstructs, metric: TaskMetric) -> None:
        """Measure the samples of a batch that have not been measured before."""
        passes = count_passes(data)
        # (n, passes, 1, 3, H, W) of n new samples
        frames: dict[str, Callable[[list[int]], Tensor]] = {
            CEILING: lambda new: self._ceiling(batch, new, data, backbone),
            "copy_input": lambda new: batch.first_frame[new, None, None].repeat(1, passes, 1, 1, 1, 1),
            "mean_target": lambda new: still_clip(mean_drawings(data), 1).repeat(len(new), 1, 1, 1, 1, 1),
        }
        for name, known in self.records.items():
            new = [i for i, pair in enumerate(batch.pairs) if pair.target is not None and pair.key not in known]
            if not new:
                continue
            for i, clip in zip(new, frames[name](new), strict=True):
                pair = batch.pairs[i]
                known[pair.key] = score_clips(metric, decoders(data, passes, passes), clip, pair, joiner(data))

    def gathered(self) -> dict[str, list[Record]]:
        """Records of each reference over all ranks. To be called on all ranks."""
        return {name: merge(gather(list(known.values()))) for name, known in self.records.items()}

    def _ceiling(self, batch: ClipBatch, new: list[int], data: TaskData, backbone: Reconstructs) -> Tensor:
        num_frames, height, width = data.clip_shape
        passes = count_passes(data)
        images = torch.full((len(new), passes, 3, height, width), torch.nan)
        for image, pair in zip(images, (batch.pairs[i] for i in new), strict=True):
            # A truth that cannot be drawn at all (an ARC answer too large for the canvas) stays NaN: a ceiling of 0.
            with suppress(ValueError):
                image[:] = torch.stack([to_frame(frame) for frame in drawings(data, pair)])
        images = images.flatten(0, 1)

        @torch.no_grad()
        def rebuild(drawn: Tensor) -> Tensor:
            return backbone.reconstruct_still(drawn.to(batch.frames.device), num_frames)

        dtype = getattr(backbone, "vae_dtype", None)
        encoder = None if backbone.encoder_fingerprint is None else f"{backbone.encoder_fingerprint} {dtype}"
        rebuilt = CeilingCache(encoder, num_frames).get(images.nan_to_num(), rebuild)
        return rebuilt.where(images.isfinite(), torch.nan).view(len(new), passes, 1, 3, height, width)
