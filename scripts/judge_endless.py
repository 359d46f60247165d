"""How much experience moves a map that no training has shown? Error on fresh pairs before and after endless training.

    python scripts/judge_endless.py embedded runs/tasks --maps horizontal_flip invert --pairs 0 640

Pairs are those of the evidence's generators, 64 px, one-frame mode; none comes twice. All weights are trained (AdamW,
rate 3e-4, batches of 16) and the error is that of the one-step prediction of the target's latent from pure noise, over
its variance: 1 is what the mean of all targets would have.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from torch import Tensor

from vdmfewshot.clips.clip import Pair
from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.data.generated.data import GENERATORS, EvidenceDataModule, make_pair
from vdmfewshot.pretrain.corpus import to_unit
from vdmfewshot.pretrain.latents import encode_clips
from vdmfewshot.pretrain.models import pipeline_folder
from vdmfewshot.pretrain.rings import time_lapse
from vdmfewshot.pretrain.transformer import DenoisingLoss, first_frame_condition

SIZE, BATCH = 64, 16


class Noisiest(DenoisingLoss):
    """Predicts targets from pure noise."""

    @torch.no_grad()
    def error(self, model: CogVideoXTransformer3DModel, latents: Tensor, scale: float) -> float:
        """Squared error of the target's latent over its variance."""
        clean, last = latents[:, 1:] * scale, len(self.alphas) - 1
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        output = model(
            hidden_states=torch.cat([noise, first_frame_condition(latents[:, 0] / scale, clean.shape[1])], 2),
            encoder_hidden_states=self.prompt.expand(len(clean), -1, -1),
            timestep=torch.full((len(clean),), last),
            ofs=self.ofs,
            image_rotary_emb=self._rotary(clean),
            return_dict=False,
        )[0]
        target = clean[:, 1]
        return float((output[:, 1] + target).square().mean() / (target - target.mean(0)).square().mean())


def clips(name: str, start: int, count: int) -> np.ndarray:
    """(count, 9, S, S, 3) transitions of fresh pairs."""
    codec = EvidenceDataModule(name, height=SIZE, width=SIZE).make_codec()
    made = []
    for index in range(start, start + count):
        pair: Pair = make_pair.__wrapped__(name, SIZE, "support", 1000, index)
        box = Letterbox(pair.image.shape[:2], (SIZE, SIZE))
        target = codec.encode(pair.target, box)
        made.append(np.stack([box.place(pair.image)] + [target] * 8))
    return np.stack(made)


def latents(vae: AutoencoderKLCogVideoX, name: str, start: int, count: int) -> Tensor:
    """(count, 3, 16, h, w) of fresh pairs in one-frame mode."""
    return encode_clips(vae, time_lapse(to_unit(clips(name, start, count))))


def errors(folder: str, name: str, marks: list[int], vae: AutoencoderKLCogVideoX, judged: Tensor) -> list[float]:
    """Errors of a model after so many fresh pairs of a map."""
    model = CogVideoXTransformer3DModel.from_pretrained(pipeline_folder(folder), subfolder="transformer").float()
    rng = torch.Generator().manual_seed(0)
    objective = Noisiest(model.config.sample_width, torch.device("cpu"), lapse_shift=4.0, unconditional=0.0)
    scale = vae.config.scaling_factor
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.0)
    found = []
    for pairs in range(0, max(marks) + 1, BATCH):
        if pairs in marks:
            found.append(objective.error(model, judged, scale))
        if pairs < max(marks):
            optimizer.zero_grad()
            objective(model, latents(vae, name, pairs, BATCH), scale, rng).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return found


def main() -> None:
    """Print one line a map and model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="'embedded' or folders that vdmfewshot.pretrain.export wrote")
    parser.add_argument("--maps", nargs="+", default=["horizontal_flip", "invert", "objects_on_texture", "rule_110"],
                        choices=[name for name in GENERATORS if name != "depth"])  # fmt: skip
    parser.add_argument("--pairs", nargs="+", type=int, default=[0], help=f"multiples of {BATCH}")
    parser.add_argument("--judged", type=int, default=64, help="pairs by which a model is judged")
    args = parser.parse_args()
    torch.set_num_threads(1)
    # Models that are compared must have one autoencoder, or errors of latents would mean different things.
    vae = AutoencoderKLCogVideoX.from_pretrained(pipeline_folder(args.models[0]), subfolder="vae").float().eval()
    for name in args.maps:
        judged = latents(vae, name, 10**6, args.judged)
        for model in args.models:
            found = errors(model, name, sorted(args.pairs), vae, judged)
            print(f"{name:20} {model:24}", *(f"{value:.3f}" for value in found), flush=True)


if __name__ == "__main__":
    main()
