"""What the autoencoder can carry: scores of decode(encode(x)) on boards, masks, discs and unseen video.

Nothing above the autoencoder can score higher than this. Targets are shown as they occur in use: as the second half
of a clip that begins with another picture, and judged on the last frame.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX

from vdmfewshot.pretrain.corpus import clip
from vdmfewshot.pretrain.data import to_unit
from vdmfewshot.pretrain.sources.canvas import CRAYONS, HELD_OUT_PHOTOS, Frame, Rng, fill, outline, photo_crop, place
from vdmfewshot.pretrain.sources.grids import paint

VALIDATION_SEED = 999


@torch.inference_mode()
def roundtrip(vae: AutoencoderKLCogVideoX, clips: Frame) -> Frame:
    """Encode and decode (B, 9, S, S, 3) uint8 clips."""
    latents = vae.encode(to_unit(clips)).latent_dist.mode()
    pixels = vae.decode(latents).sample.clamp(-1, 1).movedim(1, -1)
    return np.asarray(((pixels + 1) * 127.5).round().to(torch.uint8).numpy())


def psnr(first: Frame, second: Frame) -> float:
    """Peak signal-to-noise ratio in dB over all values of two uint8 arrays."""
    error = np.square(first.astype(np.float64) - second).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def after_cut(vae: AutoencoderKLCogVideoX, targets: Frame, inputs: Frame) -> Frame:
    """Last frames (B, S, S, 3) of decoded clips that show ``inputs`` for four frames, then ``targets``."""
    clips = np.concatenate([np.repeat(inputs[:, None], 4, 1), np.repeat(targets[:, None], 5, 1)], 1)
    return roundtrip(vae, clips)[:, -1]


def board_ceiling(vae: AutoencoderKLCogVideoX, cells: int, size: int = 96, count: int = 16) -> tuple[float, float]:
    """Share of cells and of whole boards that survive, for random ten-colour boards with 1 px lines."""
    rng = np.random.default_rng(VALIDATION_SEED)
    palette, line, ground = list(CRAYONS[:11]), CRAYONS[6], CRAYONS[11]
    boards = rng.integers(0, 6, (2, count, cells, cells)) + 5 * rng.integers(0, 2, (2, count, 1, 1))
    cell = (size - 1) // cells
    canvas = np.full((size, size, 3), ground, np.uint8)
    inputs, targets = (np.stack([paint(b, size, cell, palette, line, canvas) for b in group]) for group in boards)
    frames = after_cut(vae, targets, inputs)
    start = (size - cells * cell - 1) // 2 + 1
    region = frames[:, start : start + cells * cell, start : start + cells * cell]
    tiles = region.reshape(count, cells, cell, cells, cell, 3)[:, :, : cell - 1, :, : cell - 1]
    colors = np.median(tiles.transpose(0, 1, 3, 2, 4, 5).reshape(count, cells, cells, -1, 3), -2)
    distance = np.square(colors[..., None, :] - np.array(palette)).sum(-1)
    right = distance.argmin(-1) == boards[1]
    return float(right.mean()), float(right.all((1, 2)).mean())


def mask_ceiling(vae: AutoencoderKLCogVideoX, size: int = 96, count: int = 16) -> float:
    """Mean IoU of white shapes on black, thresholded at half brightness, after a textured scene."""
    rng = np.random.default_rng(VALIDATION_SEED)
    targets = np.stack([_shapes(rng, size, lambda: (255, 255, 255)) for _ in range(count)])
    truth = targets[..., 0] > 127
    found = after_cut(vae, targets, _scenes(size, count)).mean(-1) > 127
    union = (truth | found).sum((1, 2))
    return float(((truth & found).sum((1, 2)) / union).mean())


def disc_ceiling(vae: AutoencoderKLCogVideoX, size: int = 96, count: int = 16) -> float:
    """Share of 17 coloured 5 px discs on black whose centre keeps its colour within 60 of 441 RGB units."""
    rng = np.random.default_rng(VALIDATION_SEED)
    targets = np.zeros((count, size, size, 3), np.uint8)
    kept = []
    places = rng.integers(6, size - 6, (count, 17, 2))
    for frame, centers in zip(targets, places, strict=True):
        for center in centers.tolist():
            cv2.circle(frame, center, 2, rng.integers(60, 256, 3).tolist(), -1)
    frames = after_cut(vae, targets, _scenes(size, count))
    for frame, target, centers in zip(frames, targets, places, strict=True):
        x, y = centers.T
        kept.append(np.linalg.norm(frame[y, x].astype(float) - target[y, x], axis=-1) < 60)
    return float(np.mean(kept))


def _scenes(size: int, count: int) -> Frame:
    return np.stack([clip(VALIDATION_SEED, i, size, "moving_shapes")[0] for i in range(count)])


def _shapes(rng: Rng, size: int, color: Callable[[], tuple[int, int, int]]) -> Frame:
    frame = np.zeros((size, size, 3), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        center, radius = rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0.1, 0.3) * size
        fill(frame, place(outline(rng), center, radius, rng.uniform(0, 6)), color(), False)
    return frame


def report(vae: AutoencoderKLCogVideoX, size: int = 96, count: int = 16) -> dict[str, float]:
    """All ceilings of an autoencoder by name; PSNR in dB, the rest shares of one."""
    video = np.stack([clip(VALIDATION_SEED, i, size) for i in range(count * 2)])
    rng = np.random.default_rng(VALIDATION_SEED)
    photos = np.stack([photo_crop(rng, size, HELD_OUT_PHOTOS) for _ in range(count)])
    cells, boards = board_ceiling(vae, 10, size, count)
    dense, _ = board_ceiling(vae, 20, size, count)
    return {
        "video_psnr": psnr(roundtrip(vae, video), video),
        "photo_psnr": psnr(after_cut(vae, photos, _scenes(size, count)), photos),
        "cells_10x10": cells,
        "boards_10x10": boards,
        "cells_20x20": dense,
        "mask_iou": mask_ceiling(vae, size, count),
        "discs": disc_ceiling(vae, size, count),
    }
