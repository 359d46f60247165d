"""Pretraining of the embedded video autoencoder, the CogVideoX class of diffusers at a small width."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d, CogVideoXResnetBlock3D
from torch import Tensor, nn

from vdmfewshot.pretrain.muon import split_parameters


def build_vae(widths: tuple[int, ...] = (16, 32, 64), latent_channels: int = 16) -> AutoencoderKLCogVideoX:
    """Build the autoencoder: 4x smaller in space and time, with a start that treats every frame on its own.

    The time taps that look back start at zero, each residual branch ends in zeros, and the decoder's spatial
    modulation starts as a plain group norm: the untrained model is nearly linear, which makes it learn fast.

    Args:
        widths: Channels at full, half and quarter resolution.
        latent_channels: Channels of the latent.
    """
    levels = len(widths)
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * levels,
        up_block_types=("CogVideoXUpBlock3D",) * levels,
        block_out_channels=widths,
        latent_channels=latent_channels,
        layers_per_block=1,
        norm_num_groups=8,
        sample_height=96,
        sample_width=96,
        scaling_factor=1.0,
        invert_scale_latents=True,
    )
    for name, module in vae.named_modules():
        if isinstance(module, CogVideoXResnetBlock3D):
            nn.init.zeros_(module.conv2.conv.weight)
        if isinstance(module, CogVideoXCausalConv3d):
            with torch.no_grad():
                module.conv.weight[:, :, :-1] = 0
                if name.endswith("conv_y"):
                    module.conv.weight.mul_(0.2)
                    nn.init.ones_(module.conv.bias)
                if name.endswith("conv_b"):
                    nn.init.zeros_(module.conv.bias)
    return vae


def reconstruction_loss(output: Tensor, target: Tensor, squares: float = 2.0) -> Tensor:
    """L1 + ``squares`` times L2 + half the L1 of the spatial gradients, means over (B, 3, T, H, W)."""
    error = output - target
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + squares * error.square().mean() + 0.5 * edges


def autoencoder_loss(
    vae: AutoencoderKLCogVideoX, clips: Tensor, last: bool = False, kl_weight: float = 2e-4, squares: float = 4.0
) -> Tensor:
    """Loss of clips (B, 3, T, h, w) in -1..1 through a sampled latent.

    Args:
        vae: The autoencoder, in training.
        clips: What it is to carry.
        last: Decode the last latent only, as a still picture, as the one-frame mode does; else the whole clip.
        kl_weight: Weight of the KL term, per latent value, against a loss per pixel value.
        squares: Weight of the squared error beside the absolute one; larger favours photos over flat graphics.
    """
    posterior = vae.encode(clips).latent_dist
    mean, logvar = posterior.mean.float(), posterior.logvar.float().clamp(-30, 20)
    latents = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
    if last:
        latents, clips = latents[:, :, -1:], clips[:, :, -1:]
    output = vae.decode(latents).sample.float()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    loss: Tensor = reconstruction_loss(output, clips, squares) + kl_weight * divergence
    return loss


def muon_groups(vae: AutoencoderKLCogVideoX) -> list[dict[str, Any]]:
    """Muon for the inner kernels, AdamW for the rest, without weight decay."""
    groups = split_parameters(vae, r"(conv[12]|shortcut|samplers\.0)(\.conv)?\.weight$")
    return [{**group, "weight_decay": 0.0} for group in groups]
