"""Kandinsky 5 image-to-video through diffusers' own classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, Kandinsky5Transformer3DModel
from torch import Tensor

from vdmfewshot.backbones.base import Backbone, Latents
from vdmfewshot.backbones.checkpoint import Checkpoint, check_fixed_shift, check_frames, check_side
from vdmfewshot.backbones.objective import FlowMatching
from vdmfewshot.backbones.prompt import prompt_embeds, text_pipeline

#: most text tokens that the stock pipeline takes beyond its template
LENGTH = 512
#: text tokens that costs are estimated with; an empty prompt has fewer
USUAL_LENGTH = 16
#: first latents that the stock pipeline normalises to those after them
NORMALISED = 4
PROMPTS = ("prompt_embeds_qwen", "prompt_embeds_clip")


class Kandinsky5(Backbone):
    """Kandinsky 5.0 I2V Lite (2B), by ``Kandinsky5I2VPipeline``; Pro (19B) if its attention is dense.

    The first latent is the image's own, clean, and no part of the loss; unlike in LTX-Video and Wan 2.2 its tokens have
    the timestep of all others. A checkpoint with ``visual_cond`` is told by a mask which latent is given, on channels
    beside as many zeros.

    After sampling the stock pipeline normalises the first four latents to the mean and deviation of those after them.
    Of up to 13 frames there are none after them, and diffusers 0.42 returns NaN for every pixel. Here such clips skip
    this step and nothing else; from 17 frames on, results are the stock pipeline's bit for bit. It takes the mean over
    the whole batch, so that samples go one by one.
    """

    prompt_embeds_qwen: Tensor
    prompt_embeds_clip: Tensor
    negative_prompt_embeds_qwen: Tensor
    negative_prompt_embeds_clip: Tensor
    transformer_class = Kandinsky5Transformer3DModel
    vae_class = AutoencoderKLHunyuanVideo
    schedulers = ("FlowMatchEulerDiscreteScheduler",)
    blocks_name = "visual_transformer_blocks"
    depth_name = "num_visual_blocks"
    lora_targets = r"visual_transformer_blocks\.\d+\.(self|cross)_attention\.(to_query|to_key|to_value|out_layer)"
    given_latents = 1

    # -- configuration ------------------------------------------------------------------------------------------------

    def check_clip(self, num_frames: int, height: int, width: int) -> None:
        """Apply the rules of the checkpoint's configuration; see ``Backbone.check_clip``."""
        transformer, vae = (self.checkpoint.config(part) for part in ("transformer", "vae"))
        if transformer.get("attention_type", "regular") == "nabla":
            raise ValueError(
                f"transformer.attention_type must be regular, got nabla in {self.checkpoint.path!r}: sparse attention "
                "needs a GPU and cannot be verified here; use a 5-second Lite checkpoint"
            )
        check_fixed_shift(self.checkpoint, "Kandinsky 5")
        check_frames(num_frames, int(vae.get("temporal_compression_ratio", 4)), "Kandinsky 5")
        stride = int(vae.get("spatial_compression_ratio", 8))
        for name, side, patch in zip(("height", "width"), (height, width), transformer["patch_size"][1:], strict=True):
            check_side(name, side, math.lcm(16, stride * patch), "Kandinsky 5")  # 16 is the stock pipeline's own check

    @property
    def objective(self) -> FlowMatching:
        """Flow matching with the scheduler's own shift."""
        config = self._pipeline.scheduler.config
        return FlowMatching(float(config.shift), config.num_train_timesteps)

    # -- weights ------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """See ``Backbone.load``."""
        from diffusers import Kandinsky5I2VPipeline  # imports text encoders, without which other families start faster

        self.pipeline_class = Kandinsky5I2VPipeline
        super().load()

    def _prompts(self) -> Mapping[str, Tensor]:
        config = self.transformer.config
        shapes = ((USUAL_LENGTH, config.in_text_dim), (config.in_text_dim2,))
        tensors = prompt_embeds(
            self.checkpoint, self.prompt, LENGTH, qwen_and_clip, **dict(zip(PROMPTS, shapes, strict=True))
        )
        names = [f"{prefix}{name}" for prefix in ("", "negative_") for name in PROMPTS]
        return {name: tensors[name].to(self.dtype) for name in names}

    def _parts(self) -> dict[str, Any]:
        return {**super()._parts(), "text_encoder_2": None, "tokenizer_2": None}

    # -- training -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Latents:
        """See ``Backbone.encode``. The condition ``image`` is the first frame's latent (B, 1, C, h, w)."""
        video = frames.to(self.vae.dtype).transpose(1, 2)
        return Latents(self._mode(video), {"image": self._mode(video[:, :, :1])})

    def _mode(self, video: Tensor) -> Tensor:
        """(B, 3, F, H, W) → scaled posterior mode (B, T, C, h, w), fp32; clips one by one, whatever the batch."""
        modes = [self.vae.encode(clip[None]).latent_dist.mode() for clip in video]
        mode: Tensor = torch.cat(modes) * self.vae.config.scaling_factor
        return mode.transpose(1, 2).float()

    def denoise(self, x_t: Tensor, t: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Predict the flow (B, T, C, h, w) with the inputs that the stock pipeline would give.

        The first latent of ``x_t`` is replaced by the image; what is predicted there means nothing.
        """
        b, frames, _, h, w = x_t.shape
        hidden = torch.cat([condition["image"], x_t[:, 1:]], dim=1).permute(0, 1, 3, 4, 2)
        if self.transformer.visual_cond:
            mask = hidden.new_zeros(*hidden.shape[:-1], 1)
            mask[:, :1] = 1
            hidden = torch.cat([hidden, torch.zeros_like(hidden), mask], dim=-1)
        stride, device = self._pipeline.vae_scale_factor_spatial, x_t.device
        prediction: Tensor = self.transformer(
            hidden_states=hidden.to(self.dtype),
            encoder_hidden_states=self.prompt_embeds_qwen.expand(b, -1, -1),
            pooled_projections=self.prompt_embeds_clip.expand(b, -1),
            timestep=t.to(self.dtype),
            visual_rope_pos=[torch.arange(n, device=device) for n in (frames, h // 2, w // 2)],
            text_rope_pos=torch.arange(self.prompt_embeds_qwen.shape[1], device=device),
            scale_factor=self._pipeline._get_scale_factor(h * stride, w * stride),
            return_dict=False,
        )
        return prediction.permute(0, 1, 4, 2, 3)

    @torch.no_grad()
    def probe(self) -> Tensor:
        """See ``Backbone.probe``."""
        generator, config = torch.Generator().manual_seed(0), self.transformer.config
        shape = (1, 2, config.in_visual_dim, config.patch_size[1], config.patch_size[2])
        x_t = torch.randn(shape, generator=generator).to(self.transformer.device)
        return self.denoise(x_t, torch.tensor([500.0], device=x_t.device), {"image": x_t[:, :1]}).float()

    # -- prediction ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self, first_frame: Tensor, num_frames: int, generators: Sequence[torch.Generator], steps: int, guidance: float
    ) -> Tensor:
        """See ``Backbone.sample``. As in the stock pipeline, the image's latent is drawn from its posterior."""
        pairs = zip(first_frame, generators, strict=True)
        with torch.autocast(first_frame.device.type, enabled=False):
            latents = [self._sample(*pair, num_frames, steps, guidance) for pair in pairs]
        return torch.cat(latents).permute(0, 1, 4, 2, 3)

    def _sample(
        self, image: Tensor, generator: torch.Generator, num_frames: int, steps: int, guidance: float
    ) -> Tensor:
        """(3, H, W) in [-1, 1] → (1, T, h, w, C)."""
        kept: list[Tensor] = []

        def keep(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            kept[:] = [tensors["latents"]]
            return {}

        prompts = {f"{p}{name}": getattr(self, f"{p}{name}") for p in ("", "negative_") for name in PROMPTS}
        for prefix in ("", "negative_"):
            lengths = [0, prompts[f"{prefix}prompt_embeds_qwen"].shape[1]]
            prompts[f"{prefix}prompt_cu_seqlens"] = torch.tensor(lengths, dtype=torch.int32, device=image.device)
        normalised: Tensor = self._pipeline(
            image=(image[None] + 1) / 2,
            height=image.shape[1],
            width=image.shape[2],
            num_frames=num_frames,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[generator],
            output_type="latent",
            callback_on_step_end=keep,
            **prompts,
        ).frames
        plain = kept[0][..., : normalised.shape[-1]]
        return normalised if plain.shape[1] > NORMALISED else plain

    @torch.no_grad()
    def decode(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """See ``Backbone.decode``. F' is F; one by one, and in the VAE's own dtype, as in ``sample``."""
        z = latents.to(self.vae.dtype).transpose(1, 2) / self.vae.config.scaling_factor
        with torch.autocast(latents.device.type, enabled=False):
            video = torch.cat([self.vae.decode(sample[None]).sample for sample in z])
        return video.transpose(1, 2).float().clamp(-1, 1)


@torch.no_grad()
def qwen_and_clip(checkpoint: Checkpoint, prompts: Sequence[str], length: int) -> dict[str, list[Tensor]]:
    """``prompt_embeds_qwen`` (tokens, D) and ``prompt_embeds_clip`` (D2,) per prompt, by the stock pipeline."""
    from diffusers import Kandinsky5I2VPipeline
    from transformers import AutoTokenizer, CLIPTextModel, Qwen2_5_VLForConditionalGeneration

    models = {"text_encoder": Qwen2_5_VLForConditionalGeneration, "text_encoder_2": CLIPTextModel}
    # The processor of pictures, of which the stock pipeline uses the tokenizer alone, would need torchvision.
    tokenizers = {"tokenizer": AutoTokenizer, "tokenizer_2": AutoTokenizer}
    pipeline = text_pipeline(checkpoint, Kandinsky5I2VPipeline, models, tokenizers)
    encoded = [pipeline.encode_prompt(p, max_sequence_length=length, device=torch.device("cpu")) for p in prompts]
    return {name: [row[i][0].float() for row in encoded] for i, name in enumerate(PROMPTS)}
