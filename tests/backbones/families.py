"""What tests of all families need to know of each: its twin, and how a user of diffusers calls its stock pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    HunyuanVideo15ImageToVideoPipeline,
    Kandinsky5I2VPipeline,
    LTX2ImageToVideoPipeline,
    SkyReelsV2ImageToVideoPipeline,
)
from PIL import Image
from safetensors.torch import load_file

from tests.tiny_hunyuan import tiny_hunyuan
from tests.tiny_kandinsky import tiny_kandinsky
from tests.tiny_ltx2 import tiny_ltx2
from tests.tiny_skyreels import tiny_skyreels
from vdmfewshot.backbones import Backbone, HunyuanVideo15, Kandinsky5, Ltx2, SkyReelsV2
from vdmfewshot.clips.clip import to_frame

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Family:
    """A family, as the tests meet it.

    Attributes:
        backbone: ours.
        pipeline: the stock one.
        make: writes a tiny checkpoint into a folder.
        size: (H, W), not square, so that a swap of height and width shows.
        frames: clips for which the stock pipeline works: with guidance, and without.
        stock: (pipeline, picture, frames, guidance, generator, embeddings) → (1, F, 3, H, W) in [0, 1].
        noised: a call of the network → x_t (B, T, C, h, w) and t (B,) that ``denoise`` needs to repeat it.
        certain: takes the variance from the posterior of an image, which stock pipelines draw from.
        others: inputs of the network that differ in training, see the family.
        nothing: parts that a checkpoint without text encoder lacks.
    """

    backbone: type[Backbone]
    pipeline: type[Any]
    make: Callable[[Path], Path]
    size: tuple[int, int]
    frames: tuple[int, int]
    stock: Callable[[Any, Image.Image, int, float, torch.Generator, Tensors], torch.Tensor]
    noised: Callable[[Any, Tensors], tuple[torch.Tensor, torch.Tensor]]
    certain: Callable[[Any], None] = lambda backbone: None
    nothing: tuple[str, ...] = ("tokenizer", "text_encoder")
    others: tuple[str, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def load(self, folder: Path, **kwargs: Any) -> Any:
        backbone = self.backbone(str(folder), **self.kwargs, **kwargs)
        backbone.load()
        return backbone

    def stock_pipeline(self, folder: Path) -> Any:
        pipeline = self.pipeline.from_pretrained(folder, **dict.fromkeys(self.nothing))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def stock_videos(self, stock: Any, folder: Path, num_frames: int, guidance: float) -> torch.Tensor:
        embeds = load_file(folder / "prompt_embeds.safetensors")
        return torch.cat(
            [
                self.stock(stock, Image.fromarray(picture), num_frames, guidance, generator, embeds)
                for picture, generator in zip(self.pictures(), generators(), strict=True)
            ]
        )

    def pictures(self, n: int = 2) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (n, *self.size, 3), dtype=np.uint8)

    def first_frames(self, n: int = 2) -> torch.Tensor:
        return torch.stack([to_frame(image) for image in self.pictures(n)])


def generators(n: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + i) for i in range(n)]


def call(stock: Any, image: Image.Image, num_frames: int, guidance: float, generator: Any, **more: Any) -> torch.Tensor:
    """Arguments that most pipelines share."""
    frames: torch.Tensor = stock(
        image=image,
        height=image.height,
        width=image.width,
        num_frames=num_frames,
        num_inference_steps=3,
        guidance_scale=guidance,
        generator=generator,
        output_type="pt",
        **more,
    ).frames
    return frames


def kandinsky(
    stock: Any, image: Image.Image, frames: int, guidance: float, generator: Any, embeds: Tensors
) -> torch.Tensor:
    lengths = {
        f"{p}prompt_cu_seqlens": torch.tensor([0, embeds[f"{p}prompt_embeds_qwen"].shape[1]]) for p in ("", "negative_")
    }
    return call(stock, image, frames, guidance, generator, **embeds, **lengths)


def kandinsky_noised(backbone: Any, kwargs: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    x_t = kwargs["hidden_states"][..., : backbone.vae.config.latent_channels].permute(0, 1, 4, 2, 3).clone()
    x_t[:, 0] = torch.nan  # must be replaced
    return x_t, kwargs["timestep"]


@torch.no_grad()
def kandinsky_certain(backbone: Any) -> None:
    """Log-variances of -30, where they are clamped."""
    last = backbone.vae.quant_conv
    last.weight[len(last.weight) // 2 :] = 0
    last.bias[len(last.bias) // 2 :] = -60


def hunyuan(
    stock: Any, image: Image.Image, frames: int, guidance: float, generator: Any, embeds: Tensors
) -> torch.Tensor:
    stock.guider = stock.guider.new(guidance_scale=guidance)
    video: torch.Tensor = stock(
        image=image, num_frames=frames, num_inference_steps=3, generator=generator, output_type="pt", **embeds
    ).frames
    return video


def hunyuan_noised(backbone: Any, kwargs: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    return kwargs["hidden_states"][:, : backbone.vae.config.latent_channels].transpose(1, 2), kwargs["timestep"]


def ltx2(stock: Any, image: Image.Image, frames: int, guidance: float, generator: Any, embeds: Tensors) -> torch.Tensor:
    """With none of the pipeline's other kinds of guidance, and an image that is not re-compressed."""
    off = {f"{audio}{name}": 0.0 for audio in ("", "audio_") for name in ("stg_scale", "guidance_rescale")}
    off |= {"modality_scale": 1.0, "audio_modality_scale": 1.0, "audio_guidance_scale": guidance, "image_crf": 0}
    text = {k: v for k, v in embeds.items() if k.endswith(("prompt_embeds", "prompt_attention_mask"))}
    text = {k: v for k, v in text.items() if "video" not in k and "audio" not in k}
    cross = not stock.transformer.config.use_prompt_embeddings
    return call(stock, image, frames, guidance, generator, **text, **off, use_cross_timestep=cross)


def ltx2_noised(backbone: Any, kwargs: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    shape = [kwargs[name] for name in ("num_frames", "height", "width")]
    x_t = backbone._unpack(kwargs["hidden_states"], shape).clone()
    x_t[:, 0] = torch.nan  # must be replaced
    return x_t, kwargs["audio_timestep"]


def skyreels(
    stock: Any, image: Image.Image, frames: int, guidance: float, generator: Any, embeds: Tensors
) -> torch.Tensor:
    return call(stock, image, frames, guidance, generator, **embeds)


def skyreels_noised(backbone: Any, kwargs: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    return kwargs["hidden_states"][:, : backbone.vae.config.z_dim].transpose(1, 2), kwargs["timestep"]


FAMILIES: dict[str, Family] = {
    "kandinsky": Family(
        backbone=Kandinsky5,
        pipeline=Kandinsky5I2VPipeline,
        make=tiny_kandinsky,
        size=(32, 48),
        frames=(17, 21),
        stock=kandinsky,
        noised=kandinsky_noised,
        certain=kandinsky_certain,
        nothing=("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"),
    ),
    "hunyuan": Family(
        backbone=HunyuanVideo15,
        pipeline=HunyuanVideo15ImageToVideoPipeline,
        make=tiny_hunyuan,
        size=(32, 64),
        frames=(5, 9),
        stock=hunyuan,
        noised=hunyuan_noised,
        nothing=("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"),
    ),
    "ltx2": Family(
        backbone=Ltx2,
        pipeline=LTX2ImageToVideoPipeline,
        make=tiny_ltx2,
        size=(64, 96),
        frames=(9, 17),
        stock=ltx2,
        noised=ltx2_noised,
        others=("audio_hidden_states", "audio_coords", "audio_num_frames", "isolate_modalities"),
    ),
    "skyreels": Family(
        backbone=SkyReelsV2,
        pipeline=SkyReelsV2ImageToVideoPipeline,
        make=tiny_skyreels,
        size=(32, 48),
        frames=(5, 9),
        stock=skyreels,
        noised=skyreels_noised,
    ),
}
