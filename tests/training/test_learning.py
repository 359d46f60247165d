"""Training does what a plain loop does, and learns (fault tests N7 and N8)."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from lightning.pytorch import seed_everything
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader

from tests.tiny import tiny_checkpoint
from tests.tiny_training import make_data, make_module, make_trainer
from vdmfewshot.backbones.objective import draw_noise
from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.lora.adapters import LoraArgs, adapter_state

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
#: every linear layer: a random network's attention alone cannot carry its input to its output
EVERYWHERE = [*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_out", "patch_embed.proj"]


class OneBatch(PairsDataModule):
    """The same samples at the same noise, again and again."""

    def train_dataloader(self) -> DataLoader[ClipBatch]:
        batch = next(iter(super().train_dataloader()))
        return DataLoader([batch] * 300, batch_size=None)


def test_one_pair_at_one_noise_is_learnt_by_heart(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    module = make_module(tiny, lr=1e-2, lora=LoraArgs(rank=32, alpha=32, targets=EVERYWHERE))
    data = OneBatch(str(pairs_root), shots=1, height=32, width=32, batch_size=1)
    trainer = make_trainer(tmp_path, 300, callbacks=[])
    module.configure_model()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    with torch.no_grad():
        before = module.losses(batch).item()
    trainer.fit(module, datamodule=data)
    with torch.no_grad():
        after = module.losses(batch).item()
    assert after <= 0.1 * before


class PlainLoop:
    """Training of a LoRA as one writes it with diffusers and peft: CogVideoX 1.0 with sinusoidal positions.

    Args:
        folder: of the checkpoint.
        lora: A and B at the start, by peft's names.
        seed: of the noise.
    """

    def __init__(self, folder: Path, lora: dict[str, torch.Tensor], seed: int) -> None:
        self.seed = seed
        self.vae = AutoencoderKLCogVideoX.from_pretrained(folder, subfolder="vae")
        self.scheduler = CogVideoXDDIMScheduler.from_pretrained(folder, subfolder="scheduler")
        self.transformer = CogVideoXTransformer3DModel.from_pretrained(folder, subfolder="transformer")
        self.prompt = load_file(folder / "prompt_embeds.safetensors")["prompt_embeds"]
        self.transformer.requires_grad_(False)
        self.transformer.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=ATTENTION), "plain")
        set_peft_model_state_dict(self.transformer, lora, "plain")
        self.optimizer = torch.optim.AdamW([p for p in self.transformer.parameters() if p.requires_grad], lr=1e-2)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, F, 3, H, W) → (B, T, C, h, w)."""
        latents = self.vae.encode(frames.permute(0, 2, 1, 3, 4)).latent_dist.mode()
        return latents.permute(0, 2, 1, 3, 4) * self.vae.config.scaling_factor

    def step(self, frames: torch.Tensor, ordinals: tuple[int, ...]) -> float:
        with torch.no_grad():
            x0 = self.encode(frames)
            condition = torch.cat([self.encode(frames[:, :1]), torch.zeros_like(x0[:, 1:])], dim=1)
        u, noise = draw_noise(self.seed, ordinals, x0.shape[1:])
        t = (u * self.scheduler.config.num_train_timesteps).long()
        noisy = self.scheduler.add_noise(x0, noise, t)
        inputs = torch.cat([noisy, condition], dim=2)
        prompt = self.prompt.expand(len(frames), -1, -1)
        (prediction,) = self.transformer(inputs, prompt, t, return_dict=False)
        loss = mse_loss(prediction, self.scheduler.get_velocity(x0, noise, t))
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


def test_fifty_steps_equal_those_of_a_plain_loop(pairs_root: Path, tmp_path: Path) -> None:
    seed_everything(0)
    folder = tiny_checkpoint(tmp_path / "tiny", "1.0-sincos")
    module, data = make_module(folder, lora=LoraArgs(rank=4, alpha=4, targets=ATTENTION)), make_data(pairs_root)
    module.configure_model()
    data.setup("fit")
    start = {name: weight.clone() for name, weight in adapter_state(module.backbone.denoiser).items()}
    plain = PlainLoop(folder, start, seed=0)
    for batch in itertools.islice(iter(data.train_dataloader()), 50):
        plain.step(batch.frames, batch.ordinals)
    make_trainer(tmp_path, 50, callbacks=[]).fit(module, datamodule=make_data(pairs_root))
    ours = adapter_state(module.backbone.denoiser)
    theirs = get_peft_model_state_dict(plain.transformer, adapter_name="plain")
    assert ours.keys() == theirs.keys()
    assert all(not torch.equal(ours[name], start[name]) for name in ours)
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-5, atol=1e-5)
