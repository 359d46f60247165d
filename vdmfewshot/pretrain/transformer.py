"""Pretraining of the embedded video diffusion transformer: image to video, v-prediction, CogVideoX-1.5 conventions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from vdmfewshot.objective import VPrediction
from vdmfewshot.pretrain.muon import MuonAdamW, split_parameters
from vdmfewshot.pretrain.schedule import ema_of, wsd

OFS = 2.0
"""Value of the ``ofs`` input that CogVideoX 1.5 was trained with and that the stock pipeline passes."""

TEXT_TOKENS, TEXT_CHANNELS = 4, 64


def build_transformer(heads: int = 4, layers: int = 8, grid: int = 24) -> CogVideoXTransformer3DModel:
    """Build the denoiser; every block starts as the identity and the output as zero.

    Args:
        heads: Attention heads of 64 channels.
        layers: Blocks.
        grid: Side of the largest latent that positions are laid out for.
    """
    model = CogVideoXTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=64,
        in_channels=32,
        out_channels=16,
        time_embed_dim=128,
        ofs_embed_dim=128,
        text_embed_dim=TEXT_CHANNELS,
        max_text_seq_length=TEXT_TOKENS,
        num_layers=layers,
        sample_width=grid,
        sample_height=grid,
        sample_frames=9,
        patch_size=2,
        patch_size_t=2,
        use_rotary_positional_embeddings=True,
        patch_bias=False,
    )
    gates = [part.linear for block in model.transformer_blocks for part in (block.norm1, block.norm2)]
    for linear in (*gates, model.norm_out.linear, model.proj_out):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    return model


def build_scheduler() -> CogVideoXDDIMScheduler:
    """The noise schedule of CogVideoX 1.5: scaled linear, zero terminal SNR, v-prediction, trailing steps."""
    return CogVideoXDDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
    )


def pad_front(latents: Tensor) -> Tensor:
    """Repeat the first of (B, F, C, h, w) latents in front so that F is even, as CogVideoX 1.5 expects."""
    return torch.cat([latents[:, : latents.shape[1] % 2], latents], 1)


def first_frame_condition(image_latent: Tensor, frames: int) -> Tensor:
    """Condition (B, frames, C, h, w): the image's latent (B, C, h, w) first, zeros after it."""
    condition = image_latent.new_zeros(len(image_latent), frames, *image_latent.shape[1:])
    condition[:, 0] = image_latent
    return condition


def rotary(side: int, frames: int, full: int, offset: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
    """Rotary tables of a square window of the position grid.

    Args:
        side: Tokens along each side of the window.
        frames: Tokens in time.
        full: Tokens along each side of the whole grid.
        offset: Row and column of the window; positions are absolute, so small clips need to see all of them.
    """
    cos, sin = get_3d_rotary_pos_embed(
        64, None, (full, full), frames, grid_type="slice", max_size=(full, full), device=torch.device("cpu")
    )
    y, x = offset
    tables = [table.view(frames, full, full, -1)[:, y : y + side, x : x + side] for table in (cos, sin)]
    return tables[0].reshape(frames * side * side, -1), tables[1].reshape(frames * side * side, -1)


class TransformerPretraining(L.LightningModule):
    """Trains the denoiser on a bank of latents; batches are (B, 4, 16, h, w): image latent, then three of video."""

    def __init__(
        self,
        heads: int = 4,
        layers: int = 8,
        init_from: Path | None = None,
        scaling_factor: float = 1.0,
        lr: float = 1e-3,
        final_lr: float = 5e-5,
        total_steps: int = 5_000,
        decay_share: float = 0.4,
        warmup: int = 100,
        muon_scale: float = 3.0,
        ema_decay: float = 0.998,
        unconditional: float = 0.1,
        timestep_shift: float = 1.0,
        time_lapse: float = 0.0,
        compile: bool = False,
    ) -> None:
        """Set up training.

        Args:
            heads: Attention heads of 64 channels; ignored with ``init_from``.
            layers: Blocks; ignored with ``init_from``.
            init_from: Exported folder to go on from, with ``transformer/``.
            scaling_factor: The autoencoder's; video latents are multiplied by it, the condition is divided.
            lr: Peak rate of the AdamW part.
            final_lr: Rate at the end.
            total_steps: Steps of the schedule.
            decay_share: Share of the steps over which the rate falls.
            warmup: Steps of the rise.
            muon_scale: Ratio of Muon's rate to ``lr``.
            ema_decay: Decay of the weight average.
            unconditional: Share of clips that see a zero prompt, for classifier-free guidance.
            timestep_shift: Above one, more of the timesteps are noisy ones, in which the layout of a frame is decided.
            time_lapse: Share of steps whose clips lack their middle latent frame, so that one temporal patch is left:
                what the one-frame mode generates.
            compile: Whether to compile the denoiser; pays off in long runs.
        """
        super().__init__()
        self.prompt: Tensor
        self.save_hyperparameters()
        if init_from is None:
            self.transformer = build_transformer(heads, layers)
        else:
            self.transformer = CogVideoXTransformer3DModel.from_pretrained(init_from, subfolder="transformer")
        self.transformer.requires_grad_(True).train()
        self.average = ema_of(self.transformer, ema_decay)
        self.scheduler = build_scheduler()
        prompt = torch.randn(1, TEXT_TOKENS, TEXT_CHANNELS, generator=torch.Generator().manual_seed(0))
        self.register_buffer("prompt", prompt)
        if compile:
            self.transformer.compile(dynamic=False)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Mean squared error of the velocity at random timesteps."""
        scale = self.hparams["scaling_factor"]
        if torch.rand(()) < self.hparams["time_lapse"]:
            batch = batch[:, [0, 1, -1]]
        clean = pad_front(batch[:, 1:] * scale)
        condition = first_frame_condition(batch[:, 0] / scale, clean.shape[1])
        noise = torch.randn_like(clean)
        steps = self._timesteps(len(batch)).to(batch.device)
        noisy = self.scheduler.add_noise(clean, noise, steps)
        target = self.scheduler.get_velocity(clean, noise, steps)
        output = self.transformer(
            hidden_states=torch.cat([noisy, condition], 2),
            encoder_hidden_states=self._prompts(len(batch)),
            timestep=steps,
            ofs=batch.new_full((1,), OFS),
            image_rotary_emb=self._window(clean),
            return_dict=False,
        )[0]
        errors = (output.float() - target).square().mean((1, 2, 3, 4))
        noisiest = steps >= 800
        self.log("loss", errors.mean().detach())
        self.log("loss_noisy", errors[noisiest].mean().detach() if noisiest.any() else errors.mean().detach())
        loss: Tensor = errors.mean()
        return loss

    def _timesteps(self, count: int) -> Tensor:
        """Integer timesteps (count,): uniform, or shifted towards noise as in Esser et al. 2024, section 5.3.2."""
        objective = VPrediction(self.scheduler.alphas_cumprod, self.hparams["timestep_shift"])
        return objective.timestep(torch.rand(count))

    def _prompts(self, count: int) -> Tensor:
        keep = torch.rand(count, 1, 1) >= self.hparams["unconditional"]
        return torch.where(keep, self.prompt, torch.zeros_like(self.prompt))

    def _window(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Rotary tables at a random place of the grid, the same for the whole batch."""
        side, full = clean.shape[-1] // 2, self.transformer.config.sample_width // 2
        y, x = torch.randint(0, full - side + 1, (2,)).tolist()
        return rotary(side, clean.shape[1] // 2, full, (y, x))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the weight average before any checkpoint is written."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.transformer)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Muon on the blocks' matrices, AdamW on the rest, with warm-up, plateau and decay."""
        h = self.hparams
        groups = split_parameters(self.transformer, r"transformer_blocks.*(attn1|ff)\..*weight$")
        optimizer = MuonAdamW(groups, lr=h["lr"], muon_scale=h["muon_scale"])
        shape = wsd(h["total_steps"], h["warmup"], h["decay_share"], h["final_lr"] / h["lr"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, shape), "interval": "step"}}

    def export(self, folder: Path) -> None:
        """Save the averaged denoiser (bfloat16), the scheduler and the prompt into a pipeline folder."""
        model = CogVideoXTransformer3DModel.from_config(self.transformer.config)
        model.load_state_dict(self.average.module.state_dict())
        model.to(torch.bfloat16).save_pretrained(folder / "transformer")
        self.scheduler.save_pretrained(folder / "scheduler")
        save_file({"prompt_embeds": self.prompt.float().contiguous()}, folder / "prompt_embeds.safetensors")
