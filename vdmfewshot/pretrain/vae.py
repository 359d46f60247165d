"""Pretraining of the embedded video autoencoder, the CogVideoX class of diffusers at a small width."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d, CogVideoXResnetBlock3D
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from vdmfewshot.pretrain.muon import MuonAdamW, split_parameters
from vdmfewshot.pretrain.schedule import ema_of, wsd


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


def _single_frame(conv: CogVideoXCausalConv3d, inputs: Tensor, conv_cache: Tensor | None = None) -> Any:
    """What the causal convolution does to one frame while its backward taps are zero, as a 2-D convolution."""
    kernel, bias = conv.conv.weight[:, :, -1], conv.conv.bias
    output = F.conv2d(inputs[:, :, 0], kernel, bias, conv.conv.stride[1:], (conv.height_pad, conv.width_pad))
    return output.unsqueeze(2), inputs


def treat_as_images(vae: AutoencoderKLCogVideoX) -> None:
    """Make the model run single frames through 2-D convolutions (1.4 times as fast); the look-back taps stay zero."""
    for module in vae.modules():
        if isinstance(module, CogVideoXCausalConv3d):
            module.forward = partial(_single_frame, module)


def reconstruction_loss(output: Tensor, target: Tensor, squares: float = 2.0) -> Tensor:
    """L1 + ``squares`` times L2 + half the L1 of the spatial gradients, means over (B, 3, T, H, W)."""
    error = output - target
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + squares * error.square().mean() + 0.5 * edges


class VAEPretraining(L.LightningModule):
    """Trains the autoencoder on crops and keeps an average of its weights, which is what gets exported."""

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 32, 64),
        init_from: Path | None = None,
        images: bool = True,
        lr: float = 2e-3,
        final_lr: float = 1e-4,
        total_steps: int = 10_000,
        decay_share: float = 0.5,
        muon_scale: float = 2.0,
        kl_weight: float = 5e-4,
        squares: float = 2.0,
        ema_decay: float = 0.998,
    ) -> None:
        """Set up training.

        Args:
            widths: Channels at full, half and quarter resolution; ignored with ``init_from``.
            init_from: Folder of a saved autoencoder to go on from.
            images: Whether crops hold one frame; then the time taps are left alone, which is faster.
            lr: Peak learning rate of the AdamW part.
            final_lr: Learning rate at the end.
            total_steps: Steps of the schedule.
            decay_share: Share of the steps over which the rate falls.
            muon_scale: Ratio of Muon's rate to ``lr``.
            kl_weight: Weight of the KL term, per latent value, against a loss per pixel value.
            squares: Weight of the squared error beside the absolute one; larger favours photos over flat graphics.
            ema_decay: Decay of the weight average.
        """
        super().__init__()
        self.save_hyperparameters()
        self.vae = build_vae(widths) if init_from is None else AutoencoderKLCogVideoX.from_pretrained(init_from)
        self.vae.requires_grad_(True).train()
        self.average = ema_of(self.vae, ema_decay)
        if images:
            treat_as_images(self.vae)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Reconstruct crops (B, 3, T, h, w) in -1..1 through a sampled latent."""
        posterior = self.vae.encode(batch).latent_dist
        output = self.vae.decode(posterior.sample()).sample.float()
        loss = reconstruction_loss(output, batch, self.hparams["squares"])
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        mse = (output.detach() - batch).square().mean()
        self.log_dict({"loss": loss.detach(), "kl": divergence.detach(), "psnr": 10 * torch.log10(4 / mse),
                       "latent_std": mean.detach().std()}, prog_bar=True)  # fmt: skip
        total: Tensor = loss + self.hparams["kl_weight"] * divergence
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the weight average before any checkpoint is written."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.vae)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Muon on the inner kernels, AdamW on the rest, with warm-up, plateau and decay."""
        h = self.hparams
        groups = split_parameters(self.vae, r"(conv[12]|shortcut|samplers\.0)(\.conv)?\.weight$")
        optimizer = MuonAdamW(groups, lr=h["lr"], muon_scale=h["muon_scale"], weight_decay=0.0)
        shape = wsd(h["total_steps"], 50, h["decay_share"], h["final_lr"] / h["lr"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, shape), "interval": "step"}}

    def export(self, folder: Path) -> None:
        """Save the averaged autoencoder in diffusers layout, float32."""
        vae = AutoencoderKLCogVideoX.from_config(self.vae.config)
        vae.load_state_dict(self.average.module.state_dict())
        vae.save_pretrained(folder)
