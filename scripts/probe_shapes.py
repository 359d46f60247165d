"""Which shape of denoiser learns most in the same processor time? Each is trained from nothing on the same clips.

    python scripts/probe_shapes.py --out runs/shapes --minutes 6    # appends to results.jsonl, skips what is there

Clips are those of the video corpus, 64 px, one-frame mode, encoded once by the embedded autoencoder. The error is that
of the velocity on clips of another seed, by the averaged weights. Minutes are few: what many hours on a GPU would give
may differ, since larger networks need more clips to show what they can.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import CogVideoXTransformer3DModel
from torch import Tensor, nn

from vdmfewshot.pretrain.averages import WeightAverage
from vdmfewshot.pretrain.clock import rate_factor
from vdmfewshot.pretrain.corpora import CORPORA
from vdmfewshot.pretrain.corpus import to_unit
from vdmfewshot.pretrain.latents import encode_clips
from vdmfewshot.pretrain.models import starting_vae
from vdmfewshot.pretrain.muon import MuonAdamW
from vdmfewshot.pretrain.rings import time_lapse
from vdmfewshot.pretrain.transformer import GRID, DenoisingLoss, build_transformer, muon_groups, rotary

SIZE, BATCH, TRAINED, JUDGED = 64, 16, 2048, 256


@dataclass(frozen=True)
class Shape:
    """Of a denoiser: blocks, heads of 64 channels, and the side of a patch of latents."""

    layers: int
    heads: int
    patch: int = 2


SHAPES = (Shape(8, 4), Shape(10, 5), Shape(12, 6), Shape(8, 4, 1), Shape(4, 4))


class PatchedLoss(DenoisingLoss):
    """The loss of pretraining, for patches of any side."""

    def __init__(self, patch: int) -> None:
        super().__init__(GRID, torch.device("cpu"))
        self.patch = patch

    def _rotary(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        return rotary(clean.shape[-1] // self.patch, clean.shape[1] // 2, GRID // self.patch)


def build(shape: Shape) -> CogVideoXTransformer3DModel:
    """A new denoiser, the same each time."""
    torch.manual_seed(0)
    return build_transformer(shape.heads, shape.layers, patch=shape.patch)


@torch.no_grad()
def bank(seed: int, count: int) -> Tensor:
    """(count, 3, 16, h, w) latents of clips of the video corpus: first frame alone, then first and last."""
    vae = starting_vae("embedded")
    found = []
    for start in range(0, count, BATCH):
        clips = np.stack([CORPORA["video"](seed, start + i, SIZE) for i in range(BATCH)])
        found.append(encode_clips(vae, time_lapse(to_unit(clips))))
    return torch.cat(found)


@torch.no_grad()
def judge(model: nn.Module, loss: PatchedLoss, latents: Tensor, scale: float) -> float:
    """Mean error at timesteps and noise that are the same for all shapes."""
    rng = torch.Generator().manual_seed(7)
    return float(np.mean([float(loss(model, part, scale, rng)) for part in latents.split(BATCH)]))


def train(shape: Shape, latents: Tensor, held: Tensor, scale: float, seconds: float) -> list[dict[str, float]]:
    """Error after a quarter, a half and all of the processor time."""
    model, loss = build(shape), PatchedLoss(shape.patch)
    optimizer = MuonAdamW(muon_groups(model), lr=1e-3, muon_scale=4.0, bf16=False)
    average, rng = WeightAverage(model), torch.Generator().manual_seed(1)
    spent, steps, rows = 0.0, 0, []
    for mark in (0.25, 0.5, 1.0):
        while spent < mark * seconds:
            begun = time.process_time()
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * rate_factor(spent / seconds, steps)
            optimizer.zero_grad()
            drawn = latents[torch.randint(len(latents), (BATCH,), generator=rng)]
            loss(model, drawn, scale, rng).backward()  # type: ignore[no-untyped-call]  # torch has no types here
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            average.update(model)
            steps, spent = steps + 1, spent + time.process_time() - begun
        rows.append({"seconds": round(spent), "steps": steps, "error": judge(average.module, loss, held, scale)})
        print(shape, rows[-1], flush=True)
    return rows


def main() -> None:
    """Train the shapes that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--minutes", type=float, default=6, help="processor time of each shape")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    file, scale = args.out / "results.jsonl", float(starting_vae("embedded").config["scaling_factor"])
    known = file.read_text() if file.is_file() else ""
    latents, held = bank(1, TRAINED), bank(2, JUDGED)
    for shape in SHAPES:
        if json.dumps(asdict(shape))[:-1] in known:
            continue
        parameters = sum(p.numel() for p in build(shape).parameters())
        rows = train(shape, latents, held, scale, 60 * args.minutes)
        with file.open("a") as stream:
            stream.writelines(json.dumps({**asdict(shape), "parameters": parameters, **r}) + "\n" for r in rows)


if __name__ == "__main__":
    main()
