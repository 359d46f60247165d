"""A complete small task: bright squares to be segmented, a real (convolutional) generator and a lossy 'VAE'."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vdmfewshot.clips.clip import Clip, ClipBatch, Pair, collate, to_frame
from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.clips.transition import transition
from vdmfewshot.codecs.mask import MaskCodec
from vdmfewshot.metrics import SegmentationMetric

CANVAS = (32, 32)
FRAMES = 5


def square_pair(index: int) -> Pair:
    """A bright square of random size and place on a dark noisy ground."""
    rng = np.random.default_rng(index)
    top, left, side = rng.integers(2, 14, size=3)
    mask = np.zeros((28, 36), dtype=bool)
    mask[top : top + side + 3, left : left + side + 3] = True
    image = np.where(mask[..., None], 200, 40) + rng.normal(0, 25, (28, 36, 3))
    return Pair(f"square-{index:02d}", np.clip(image, 0, 255).astype(np.uint8), mask)


class SquareData(LightningDataModule):
    task_name = "squares"
    clip_shape = (FRAMES, *CANVAS)

    def __init__(self, n: int = 5, batch_size: int = 2) -> None:
        super().__init__()
        self.codec = MaskCodec()
        self.support = [square_pair(100 + i) for i in range(3)]
        self.pairs = [square_pair(i) for i in range(n)]
        self.batch_size = batch_size

    def make_metric(self) -> SegmentationMetric:
        return SegmentationMetric()

    def box(self, pair: Pair) -> Letterbox:
        return Letterbox(source=pair.image.shape[:2], canvas=CANVAS)

    def mean_target(self) -> np.ndarray:
        return np.mean([self.codec.encode(p.target, self.box(p)) for p in self.support], axis=0).astype(np.uint8)

    def clip(self, pair: Pair) -> Clip:
        box = self.box(pair)
        x, y = to_frame(box.place(pair.image)), to_frame(self.codec.encode(pair.target, box))
        return Clip(transition(x, y, FRAMES), pair)

    def train_dataloader(self) -> DataLoader[Clip]:
        return DataLoader([self.clip(p) for p in self.support], batch_size=3, collate_fn=collate)

    def val_dataloader(self) -> DataLoader[Clip]:
        return DataLoader([self.clip(p) for p in self.pairs], batch_size=self.batch_size, collate_fn=collate)

    test_dataloader = val_dataloader


class Blur(nn.Module):
    """Stands for a VAE: what goes through it comes back softer."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    encoder_fingerprint = None

    def reconstruct_still(self, images: Tensor, num_frames: int) -> Tensor:
        return self.reconstruct(images.unsqueeze(1).repeat(1, num_frames, 1, 1, 1))[:, -1]

    def reconstruct(self, frames: Tensor) -> Tensor:
        self.calls += 1
        batch, count = frames.shape[:2]
        return F.avg_pool2d(frames.flatten(0, 1), 3, 1, 1, count_include_pad=False).unflatten(0, (batch, count))


class ConvModule(LightningModule):
    """Input image → clip that fades into a convolution's answer; attempts differ by noise."""

    def __init__(self, attempts: int = 2, spoil: str | None = None) -> None:
        super().__init__()
        self.backbone = Blur()
        self.answer = nn.Conv2d(3, 3, 5, padding=2)
        self.attempts = attempts
        self.spoil = spoil

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        loss = F.mse_loss(torch.tanh(self.answer(batch.first_frame)), batch.frames[:, -1])
        self.log("train/loss", loss, batch_size=len(batch))
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.answer.parameters(), lr=0.02)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> ClipBatch:
        answer = torch.tanh(self.answer(batch.first_frame))
        clips = torch.stack(
            [transition(x, y, FRAMES, "convex") for x, y in zip(batch.first_frame, answer, strict=True)]
        )
        noise = torch.randn(len(batch), self.attempts, *clips.shape[1:], generator=torch.Generator().manual_seed(0))
        generated = (clips.unsqueeze(1) + 0.05 * noise).clamp(-1, 1)
        for i, pair in enumerate(batch.pairs):
            if pair.key == self.spoil:
                generated[i, :, -1, 0, 0, 0] = float("nan")
        return replace(batch, generated=generated)

    test_step = validation_step
