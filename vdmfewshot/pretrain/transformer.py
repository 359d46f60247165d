"""Pretraining of the embedded video diffusion transformer: image to video, v-prediction, CogVideoX-1.5 conventions."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch import Tensor, nn

from vdmfewshot.pretrain.muon import split_parameters

OFS = 2.0
"""Value of the ``ofs`` input that CogVideoX 1.5 was trained with and that the stock pipeline passes."""

TEXT_TOKENS, TEXT_CHANNELS = 4, 64

GRID = 24
"""Side of the largest latents, those of 96 px."""


def build_transformer(
    heads: int = 5, layers: int = 10, grid: int = GRID, patch: int = 2
) -> CogVideoXTransformer3DModel:
    """Build the denoiser; every block starts as the identity and the output as zero.

    Args:
        heads: Attention heads of 64 channels.
        layers: Blocks.
        grid: Side of the largest latent that positions are laid out for.
        patch: Side of a token in latents.
    """
    model = CogVideoXTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=64,
        in_channels=32,
        out_channels=16,
        time_embed_dim=64,
        ofs_embed_dim=64,
        text_embed_dim=TEXT_CHANNELS,
        max_text_seq_length=TEXT_TOKENS,
        num_layers=layers,
        sample_width=grid,
        sample_height=grid,
        sample_frames=9,
        patch_size=patch,
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


def rotary(side: int, frames: int, full: int) -> tuple[Tensor, Tensor]:
    """Rotary tables of the first ``side`` rows and columns of a grid of ``full``, as the stock pipeline cuts them out.

    Args:
        side: Tokens along each side of the clip.
        frames: Tokens in time.
        full: Tokens along each side of the whole grid.
    """
    cos, sin = get_3d_rotary_pos_embed(
        64, None, (side, side), frames, grid_type="slice", max_size=(full, full), device=torch.device("cpu")
    )
    return cos, sin


def fixed_prompt() -> Tensor:
    """The one prompt (1, 4, 64): a random vector that is the same in every run."""
    return torch.randn(1, TEXT_TOKENS, TEXT_CHANNELS, generator=torch.Generator().manual_seed(0))


class DenoisingLoss:
    """Velocity loss of latents; small tables are kept on the device."""

    def __init__(
        self,
        grid: int,
        device: torch.device,
        timestep_shift: float = 1.5,
        lapse_shift: float = 3.0,
        unconditional: float = 0.1,
    ) -> None:
        """Prepare the tables.

        Args:
            grid: Side of the largest latent that positions are laid out for.
            device: Where the loss is computed.
            timestep_shift: Above one, more of the timesteps are noisy ones, in which the layout of a frame is decided
                (Esser et al. 2024, section 5.3.2).
            lapse_shift: The same for clips of the one-frame mode, which are adapted and sampled where noise is highest.
            unconditional: Share of clips that see a zero prompt, for classifier-free guidance.
        """
        self.grid, self.device, self.unconditional = grid, device, unconditional
        self.shift, self.lapse_shift = timestep_shift, lapse_shift
        self.alphas = build_scheduler().alphas_cumprod.float().to(device)
        self.prompt = fixed_prompt().to(device)
        self.ofs = torch.full((1,), OFS, device=device)
        self.tables: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, transformer: nn.Module, latents: Tensor, scale: float, rng: torch.Generator) -> Tensor:
        """Mean squared error of the velocity at random timesteps.

        Args:
            transformer: The denoiser.
            latents: (B, 1 + F, 16, h, w), not scaled: the latent of the first frame alone, then those of the clip.
            scale: The autoencoder's ``scaling_factor``; the clip is multiplied by it, the condition divided.
            rng: Draws noise, timesteps and dropped prompts.
        """
        clean = pad_front(latents[:, 1:].float() * scale)
        condition = first_frame_condition(latents[:, 0].float() / scale, clean.shape[1])
        draws = torch.rand(2, len(clean), generator=rng, device=self.device)
        steps = self._timesteps(draws[0], self.lapse_shift if clean.shape[1] == 2 else self.shift)
        noise = torch.randn(clean.shape, generator=rng, device=self.device)
        alpha, sigma = (
            root.view(-1, 1, 1, 1, 1) for root in (self.alphas[steps].sqrt(), (1 - self.alphas[steps]).sqrt())
        )
        prompts = torch.where(draws[1, :, None, None] < self.unconditional, 0.0, self.prompt)
        output = transformer(
            hidden_states=torch.cat([alpha * clean + sigma * noise, condition], 2),
            encoder_hidden_states=prompts,
            timestep=steps,
            ofs=self.ofs,
            image_rotary_emb=self._rotary(clean),
            return_dict=False,
        )[0]
        loss: Tensor = (output.float() - (alpha * noise - sigma * clean)).square().mean()
        return loss

    def _timesteps(self, u: Tensor, shift: float) -> Tensor:
        """Integer timesteps of uniform numbers (B,)."""
        shifted = shift * u / (1 + (shift - 1) * u)
        return (len(self.alphas) * shifted).long().clamp(max=len(self.alphas) - 1)

    def _rotary(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Tables of the grid's corner, as the stock pipeline cuts them out: small clips lie at fixed places, too."""
        key = (clean.shape[-1] // 2, clean.shape[1] // 2)
        if key not in self.tables:
            cos, sin = rotary(*key, self.grid // 2)
            self.tables[key] = (cos.to(self.device), sin.to(self.device))
        return self.tables[key]


def muon_groups(transformer: nn.Module) -> list[dict[str, Any]]:
    """Muon for the blocks' matrices, AdamW for the rest."""
    return split_parameters(transformer, r"transformer_blocks.*(attn1|ff)\..*weight$")
