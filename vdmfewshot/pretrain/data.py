"""Data modules that turn the corpus into batches: crops for the VAE, latents for the transformer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import lightning as L
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from vdmfewshot.pretrain.corpus import clip
from vdmfewshot.pretrain.sources.canvas import NUM_FRAMES, Frame, Rng

GRAPHICS = ("fine_boards", "fine_boards", "board_world", "turning_board", "shadow_play", "flat_shapes", "cartoon")
"""Sources with flat colours and sharp edges, which an autoencoder finds hardest."""


def to_unit(frames: Frame) -> Tensor:
    """Turn uint8 frames (..., T, H, W, 3) into float32 (..., 3, T, H, W) in -1..1."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).float() / 127.5 - 1
    return pixels.movedim(-1, -4)


class CropDataset(Dataset[Tensor]):
    """Random crops of corpus clips; item ``i`` is a pure function of (seed, i)."""

    def __init__(
        self, seed: int, length: int, size: int, crop: int, frames: int, crops: int, graphics: float, photos: float
    ) -> None:
        """See `VAEData` for the arguments."""
        self.seed, self.length, self.size, self.crop = seed, length, size, crop
        self.frames, self.crops, self.graphics, self.photos = frames, crops, graphics, photos
        self.start = 0

    def __len__(self) -> int:
        """Number of clips."""
        return self.length

    def _source(self, rng: Rng) -> str | None:
        """One of the sources that the autoencoder sees more often, or None for the mixture."""
        kind = rng.random()
        if kind < self.graphics:
            return GRAPHICS[rng.integers(len(GRAPHICS))]
        return "photo_album" if kind < self.graphics + self.photos else None

    def __getitem__(self, index: int) -> Tensor:
        """Return crops (crops, 3, frames, crop, crop), float32 in -1..1."""
        index += self.start
        rng = np.random.default_rng((self.seed, index, 1))
        video = clip(self.seed, index, self.size, self._source(rng))
        room = self.size - self.crop + 1
        patches = []
        for _ in range(self.crops):
            y, x = rng.integers(room, size=2)
            t = 0 if self.frames == NUM_FRAMES else rng.integers(NUM_FRAMES - self.frames + 1)
            patches.append(video[t : t + self.frames, y : y + self.crop, x : x + self.crop])
        return to_unit(np.stack(patches))


def _quiet_worker(_: int) -> None:
    """Keep a loader process on one thread, so that it does not compete with training."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class VAEData(L.LightningDataModule):
    """Crops of corpus clips for the autoencoder."""

    def __init__(
        self,
        seed: int = 1,
        size: int = 96,
        crop: int = 32,
        frames: int = 1,
        crops: int = 8,
        graphics: float = 0.3,
        photos: float = 0.0,
        batch_size: int = 8,
        length: int = 10_000_000,
        num_workers: int = 1,
    ) -> None:
        """Choose the diet.

        Args:
            seed: Names the corpus.
            size: Side of the rendered frames in pixels.
            crop: Side of the crops in pixels, a multiple of 4.
            frames: Frames a crop, 1 (images) or 9 (clips).
            crops: Crops taken from each clip.
            graphics: Share of clips drawn from the flat, sharp-edged sources on top of the mixture.
            photos: Share of clips that are slide shows of photos on top of the mixture.
            batch_size: Clips a batch; the model sees ``batch_size * crops`` crops.
            length: Clips an epoch.
            num_workers: Loader processes; 0 makes the clips in the training process.
        """
        super().__init__()
        self.dataset = CropDataset(seed, length, size, crop, frames, crops, graphics, photos)
        self.batch_size, self.num_workers = batch_size, num_workers

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Crops (batch * crops, 3, frames, crop, crop) in corpus order; a resumed run goes on where it stopped."""
        self.dataset.start = self.trainer.global_step * self.batch_size if self.trainer is not None else 0
        return DataLoader(
            self.dataset,
            self.batch_size,
            num_workers=self.num_workers,
            collate_fn=torch.cat,
            worker_init_fn=_quiet_worker,
        )


class LatentBank(IterableDataset[Tensor]):
    """Endless shuffled batches from shards of latents, noticing shards that are added while training runs.

    Each shard is a safetensors file with ``latents`` (N, 4, 16, h, w) in float16, not scaled: the first frame's, then
    those of the clip. Shards of several sizes may lie in subfolders; a batch comes from one shard.
    """

    def __init__(self, folder: Path, batch_size: int, seed: int, start: int = 0) -> None:
        """Read ``folder`` and begin at batch number ``start``, so that resumed runs see new draws."""
        self.folder, self.batch_size, self.seed, self.start = folder, batch_size, seed, start
        self.shards: dict[Path, Tensor] = {}

    def refresh(self) -> None:
        """Load shards that have appeared since the last call."""
        for path in sorted(self.folder.rglob("*.safetensors")):
            if path not in self.shards:
                self.shards[path] = load_file(path)["latents"]
        if not self.shards:
            raise FileNotFoundError(f"no *.safetensors shard of latents in {self.folder}; make them with make_bank")

    def __iter__(self) -> Iterator[Tensor]:
        """Yield batches (batch, 4, 16, h, w), float32."""
        step = self.start
        while True:
            if (step - self.start) % 100 == 0:
                self.refresh()
            rng = np.random.default_rng((self.seed, step))
            shards = list(self.shards.values())
            sizes = np.array([len(shard) for shard in shards])
            shard = shards[int(rng.choice(len(shards), p=sizes / sizes.sum()))]
            rows = rng.choice(len(shard), self.batch_size, replace=len(shard) < self.batch_size)
            yield shard[torch.from_numpy(rows)].float()
            step += 1


class LatentData(L.LightningDataModule):
    """Batches from a bank of latents for the transformer."""

    def __init__(self, bank: Path = Path("bank/64"), batch_size: int = 16, seed: int = 1) -> None:
        """Choose the bank.

        Args:
            bank: Folder of shards written by `vdmfewshot.pretrain.bank.make_bank`.
            batch_size: Clips a step.
            seed: Order of the draws.
        """
        super().__init__()
        self.bank, self.batch_size, self.seed = bank, batch_size, seed

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Endless batches (batch, 4, 16, h, w); stop with ``max_steps`` or ``max_time``."""
        start = self.trainer.global_step if self.trainer is not None else 0
        return DataLoader(LatentBank(self.bank, self.batch_size, self.seed, start), batch_size=None)
