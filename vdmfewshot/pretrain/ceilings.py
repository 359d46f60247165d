"""What the autoencoder can carry: scores of decode(encode(x)) on boards, masks, keypoints, photos and unseen video.

Nothing above the autoencoder can score higher than this. Labels are drawn and read by the package's own codecs and
shown as they occur in use: as the second half of a clip that begins with another picture, judged on its last frame.
All of it is random and none of it is in the corpus.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.grid import GridCodec
from vdmfewshot.codecs.keypoints import KeypointCodec
from vdmfewshot.codecs.mask import MaskCodec
from vdmfewshot.drawing.canvas import HELD_OUT_PHOTOS, Frame, fill, outline, photo_crop, place
from vdmfewshot.metrics.keypoint_ap import COCO_SIGMAS
from vdmfewshot.metrics.pose import oks
from vdmfewshot.pretrain.corpus import clip, to_unit

VALIDATION_SEED = 999
BATCH = 8


@torch.inference_mode()
def roundtrip(vae: AutoencoderKLCogVideoX, clips: Frame) -> Frame:
    """Encode and decode (B, 9, S, S, 3) uint8 clips, in batches that any laptop holds."""
    parts = []
    for start in range(0, len(clips), BATCH):
        latents = vae.encode(to_unit(clips[start : start + BATCH])).latent_dist.mode()
        pixels = vae.decode(latents).sample.clamp(-1, 1).movedim(1, -1)
        parts.append(((pixels + 1) * 127.5).round().to(torch.uint8).numpy())
    return np.concatenate(parts)


def psnr(first: Frame, second: Frame) -> float:
    """Peak signal-to-noise ratio in dB over all values of two uint8 arrays."""
    error = np.square(first.astype(np.float64) - second).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def after_cut(vae: AutoencoderKLCogVideoX, targets: Frame, inputs: Frame) -> Frame:
    """Last frames (B, S, S, 3) of decoded clips that show ``inputs`` for four frames, then ``targets``."""
    clips = np.concatenate([np.repeat(inputs[:, None], 4, 1), np.repeat(targets[:, None], 5, 1)], 1)
    return roundtrip(vae, clips)[:, -1]


def reread(
    vae: AutoencoderKLCogVideoX, codec: Codec[Any], inputs: Sequence[Any] | Frame, labels: Sequence[Any], size: int
) -> list[Any]:
    """Draw labels, send them through the autoencoder after a cut, and read them back.

    Args:
        vae: The autoencoder.
        codec: Draws and reads.
        inputs: What the first four frames show: frames (B, S, S, 3), or labels to be drawn.
        labels: B labels.
        size: Side S of the frames in pixels, which is also that of the labels' own pictures.
    """
    box = Letterbox((size, size), (size, size))
    before = inputs if isinstance(inputs, np.ndarray) else np.stack([codec.encode(label, box) for label in inputs])
    frames = after_cut(vae, np.stack([codec.encode(label, box) for label in labels]), before)
    return [codec.decode(frame, box).label for frame in frames]


def board_ceiling(vae: AutoencoderKLCogVideoX, cells: int, size: int = 96, count: int = 16) -> tuple[float, float]:
    """Share of cells and of whole boards that `GridCodec` reads right, for random ten-colour boards after another.

    The size is inferred from the frame, and a board of a wrong size has no right cell. Half of the boards are
    uniformly random, the worst case; in the others nine cells of ten have the colour of the first.
    """
    rng = np.random.default_rng(VALIDATION_SEED)
    boards = rng.integers(0, 10, (2 * count, cells, cells))
    boards[::2] = np.where(rng.random(boards[::2].shape) < 0.9, boards[::2, :1, :1], boards[::2])
    codec = GridCodec.fitted([(cells, cells)], (size, size))
    found = reread(vae, codec, list(boards[:count]), list(boards[count:]), size)
    right = [
        (read == board).mean() if read.shape == board.shape else 0.0
        for read, board in zip(found, boards[count:], strict=True)
    ]
    return float(np.mean(right)), float(np.mean(np.array(right) == 1.0))


def mask_ceiling(vae: AutoencoderKLCogVideoX, size: int = 96, count: int = 16) -> float:
    """Mean IoU of one to three random shapes drawn and read by `MaskCodec`, after a textured scene."""
    rng = np.random.default_rng(VALIDATION_SEED)
    masks = [_shapes(rng, size) for _ in range(count)]
    found = reread(vae, MaskCodec(), _scenes(size, count), masks, size)
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in zip(found, masks, strict=True)]))


def keypoint_ceiling(vae: AutoencoderKLCogVideoX, size: int = 96, count: int = 16) -> float:
    """Mean OKS of 17 joints at random places of a person's box, drawn and read by `KeypointCodec`, after a scene."""
    rng = np.random.default_rng(VALIDATION_SEED)
    low, high = rng.uniform(0.05, 0.25, (count, 1, 2)), rng.uniform(0.75, 0.95, (count, 1, 2))
    places = size * (low + rng.random((count, 17, 2)) * (high - low))
    joints = np.concatenate([places, np.full((count, 17, 1), 2.0)], -1)
    found = reread(vae, KeypointCodec(17), _scenes(size, count), list(joints), size)
    scores = []
    for read, truth in zip(found, joints, strict=True):
        gaps = np.where(read[:, 2] > 0, np.linalg.norm(read[:, :2] - truth[:, :2], axis=1), np.inf)
        scores.append(oks(gaps, float(np.ptp(truth[:, :2], axis=0).prod()), np.array(COCO_SIGMAS)))
    return float(np.mean(scores))


def _scenes(size: int, count: int) -> Frame:
    return np.stack([clip(VALIDATION_SEED, i, size, "moving_shapes")[0] for i in range(count)])


def _shapes(rng: np.random.Generator, size: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    frame = np.zeros((size, size, 3), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        center, radius = rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0.1, 0.3) * size
        fill(frame, place(outline(rng), center, radius, rng.uniform(0, 6)), (255, 255, 255), False)
    return np.asarray(frame[..., 0] > 127)


def report(vae: AutoencoderKLCogVideoX, size: int = 96, count: int = 16, boards: Sequence[int] = (10, 20, 30)) -> dict[
    str, float
]:  # fmt: skip
    """All ceilings of an autoencoder by name; PSNR in dB, the rest shares of one. Boards need 3 px a cell."""
    video = np.stack([clip(VALIDATION_SEED, i, size) for i in range(count * 2)])
    rng = np.random.default_rng(VALIDATION_SEED)
    photos = np.stack([photo_crop(rng, size, HELD_OUT_PHOTOS) for _ in range(count)])
    scores = {
        "video_psnr": psnr(roundtrip(vae, video), video),
        "photo_psnr": psnr(after_cut(vae, photos, _scenes(size, count)), photos),
        "mask_iou": mask_ceiling(vae, size, count),
        "keypoint_oks": keypoint_ceiling(vae, size, count),
    }
    for cells in boards:
        if cells * 3 + 1 <= size:
            name = f"{cells}x{cells}"
            scores[f"cells_{name}"], scores[f"boards_{name}"] = board_ceiling(vae, cells, size, count)
    return scores


def measure(vae: Path, size: int = 96, count: int = 16) -> None:
    """Print all ceilings of a saved autoencoder as JSON.

    Args:
        vae: Folder of the autoencoder in diffusers layout.
        size: Side of the frames in pixels.
        count: Samples of each kind.
    """
    scores = report(AutoencoderKLCogVideoX.from_pretrained(vae).eval(), size, count)
    print(json.dumps({name: round(value, 4) for name, value in scores.items()}))  # noqa: T201


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(measure)
