"""What a score is to be held against: the encoding ceiling and predictions that need no learning."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import torch
from torch import Tensor

from vdmfewshot.callbacks.evaluation import TaskData, decoder, gather, score_clips, still_clip
from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.records import Record, merge

CEILING = "ceiling"
BASELINES = ("copy_input", "mean_target")


class Reconstructs(Protocol):
    """The part of a backbone that the ceiling needs."""

    def reconstruct(self, frames: Tensor) -> Tensor:
        """(B, F, 3, H, W) in [-1, 1] through the VAE's encoder and decoder."""


class References:
    """Records of the encoding ceiling and of trivial baselines on one data set, each sample measured once.

    - ``ceiling``: decode(VAE(encode(truth))) of a still clip: no prediction through this VAE and codec can be
      expected to do better.
    - ``copy_input``: the input image taken for the answer.
    - ``mean_target``: the mean of the support set's targets taken for the answer to everything.

    Args:
        names: which of the three.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.records: dict[str, dict[str, Record]] = {name: {} for name in names}

    def add(self, batch: ClipBatch, data: TaskData, backbone: Reconstructs, metric: TaskMetric) -> None:
        """Measure the samples of a batch that have not been measured before."""
        frames: dict[str, Callable[[list[int]], Tensor]] = {
            CEILING: lambda new: self._ceiling(batch, new, data, backbone),
            "copy_input": lambda new: batch.first_frame[new].unsqueeze(1),
            "mean_target": lambda new: still_clip([data.mean_target()] * len(new), 1),
        }
        decode = decoder(data)
        for name, known in self.records.items():
            new = [i for i, pair in enumerate(batch.pairs) if pair.target is not None and pair.key not in known]
            if not new:
                continue
            for i, clip in zip(new, frames[name](new), strict=True):
                pair = batch.pairs[i]
                known[pair.key] = score_clips(metric, decode, clip.unsqueeze(0), pair)

    def gathered(self) -> dict[str, list[Record]]:
        """Records of each reference over all ranks. To be called on all ranks."""
        return {name: merge(gather(list(known.values()))) for name, known in self.records.items()}

    def _ceiling(self, batch: ClipBatch, new: list[int], data: TaskData, backbone: Reconstructs) -> Tensor:
        num_frames, height, width = data.clip_shape
        clips = torch.full((len(new), num_frames, 3, height, width), torch.nan)
        for clip, pair in zip(clips, (batch.pairs[i] for i in new), strict=True):
            # A truth that cannot be drawn at all (an ARC answer too large for the canvas) stays NaN: a ceiling of 0.
            with suppress(ValueError):
                clip[:] = still_clip([data.codec.encode(pair.target, data.box(pair))], num_frames)[0]
        with torch.no_grad():
            rebuilt: Tensor = backbone.reconstruct(clips.nan_to_num().to(batch.frames.device)).cpu()
        return rebuilt.where(clips[:, :1, :1, :1, :1].isfinite(), torch.nan)
