"""HunyuanVideo 1.5 image-to-video through diffusers' own classes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo15, ClassifierFreeGuidance, HunyuanVideo15Transformer3DModel
from torch import Tensor

from vdmfewshot.backbones.base import Backbone, Latents
from vdmfewshot.backbones.checkpoint import Checkpoint, check_fixed_shift, check_frames, fingerprint
from vdmfewshot.backbones.objective import FlowMatching
from vdmfewshot.backbones.prompt import prompt_embeds, text_pipeline
from vdmfewshot.backbones.wan import to_picture

#: text tokens of the stock pipeline: of Qwen2.5-VL, and of ByT5 for words in quotation marks
LENGTH, GLYPHS = 1000, 256
PROMPTS = ("prompt_embeds", "prompt_embeds_mask", "prompt_embeds_2", "prompt_embeds_mask_2")


class HunyuanVideo15(Backbone):
    """HunyuanVideo 1.5 I2V (8.3B), 480p and 720p, by ``HunyuanVideo15ImageToVideoPipeline``.

    The network is given the first latent and a mask on channels, and attends to a SigLIP embedding of the image. Every
    latent is generated. The stock pipeline takes pictures and chooses height and width by itself, so that only its own
    sizes are legal, and samples go one by one. It has no loader for adapters, its network has.

    Step-distilled checkpoints (``use_meanflow``) are refused: the network is told the next timestep, too, and what an
    adapter should be told in training is not published.
    """

    prompt_embeds: Tensor
    prompt_embeds_mask: Tensor
    prompt_embeds_2: Tensor
    prompt_embeds_mask_2: Tensor
    image_encoder: Any
    transformer_class = HunyuanVideo15Transformer3DModel
    vae_class = AutoencoderKLHunyuanVideo15
    schedulers = ("FlowMatchEulerDiscreteScheduler",)
    repeated_blocks = ("HunyuanVideo15TransformerBlock",)
    lora_targets = r"transformer_blocks\.\d+\.attn\.(to_q|to_k|to_v|to_out\.0)"
    lora_loader = "transformer.load_lora_adapter"
    lora_kwargs = MappingProxyType({"weight_name": "pytorch_lora_weights.safetensors"})

    # -- configuration ------------------------------------------------------------------------------------------------

    def check_clip(self, num_frames: int, height: int, width: int) -> None:
        """Apply the rules of the checkpoint's configuration; see ``Backbone.check_clip``."""
        transformer, vae = (self.checkpoint.config(part) for part in ("transformer", "vae"))
        for name, expected in (("task_type", "i2v"), ("use_meanflow", False)):
            if transformer.get(name, expected) != expected:
                raise ValueError(
                    f"transformer.{name} must be {expected} for HunyuanVideo 1.5, got {transformer[name]} in "
                    f"{self.checkpoint.path!r}; use an image-to-video checkpoint that is not step-distilled"
                )
        guider = self.checkpoint.config("guider").get("_class_name")
        if guider != "ClassifierFreeGuidance":
            raise ValueError(f"guider must be ClassifierFreeGuidance, got {guider!r} in {self.checkpoint.path!r}")
        check_fixed_shift(self.checkpoint, "HunyuanVideo 1.5")
        check_frames(num_frames, int(vae.get("temporal_compression_ratio", 4)), "HunyuanVideo 1.5")
        self._check_size(height, width, int(transformer["target_size"]), int(vae.get("spatial_compression_ratio", 16)))

    def _check_size(self, height: int, width: int, target: int, stride: int) -> None:
        from diffusers.pipelines.hunyuan_video1_5.image_processor import HunyuanVideo15ImageProcessor

        processor = HunyuanVideo15ImageProcessor(vae_scale_factor=stride)
        nearest = processor.calculate_default_height_width(height, width, target)
        if (height, width) != nearest:
            raise ValueError(
                f"height x width must be one of the sizes of HunyuanVideo 1.5, multiples of {stride} of about "
                f"{target}x{target} pixels in all, got {height}x{width}; nearest: {nearest[0]}x{nearest[1]}"
            )

    @property
    def objective(self) -> FlowMatching:
        """Flow matching with the scheduler's own shift."""
        config = self._pipeline.scheduler.config
        return FlowMatching(float(config.shift), config.num_train_timesteps)

    # -- weights ------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """See ``Backbone.load``; also reads the image encoder."""
        if self._pipeline is not None:
            return
        # They import text encoders, without which other families start faster; transformers advertises torchvision.
        with silent("transformers"):
            from diffusers import HunyuanVideo15ImageToVideoPipeline
            from transformers import SiglipVisionModel

        self.pipeline_class = HunyuanVideo15ImageToVideoPipeline
        siglip = self.checkpoint.model(SiglipVisionModel, "image_encoder", self.dtype)
        self.image_encoder = siglip.requires_grad_(False).eval()
        super().load()
        if not self.checkpoint.has_weights:
            for module in self.vae.modules():
                if hasattr(module, "prepare_causal_attention_mask"):
                    module.prepare_causal_attention_mask = empty_mask
        encoders = [self.encoder_fingerprint, fingerprint(self.image_encoder, {})]
        self.encoder_fingerprint = hashlib.sha256(repr(encoders).encode()).hexdigest()[:16]

    def _prompts(self) -> Mapping[str, Tensor]:
        config = self.transformer.config
        shapes = ((LENGTH, config.text_embed_dim), (LENGTH,), (GLYPHS, config.text_embed_2_dim), (GLYPHS,))
        named = dict(zip(PROMPTS, shapes, strict=True))
        tensors = prompt_embeds(self.checkpoint, self.prompt, LENGTH, qwen_and_byt5, **named)
        return {f"{p}{name}": tensors[f"{p}{name}"].to(self.dtype) for p in ("", "negative_") for name in PROMPTS}

    def _parts(self) -> dict[str, Any]:
        from transformers import SiglipImageProcessor

        with silent("diffusers.guiders.guider_utils", "transformers"):  # a class that calls itself experimental
            guider = ClassifierFreeGuidance.from_config(self.checkpoint.config("guider"))
            extractor = self.checkpoint.processor(SiglipImageProcessor, "feature_extractor")
        return {
            **super()._parts(),
            "text_encoder_2": None,
            "tokenizer_2": None,
            "guider": guider,
            "image_encoder": self.image_encoder,
            "feature_extractor": extractor,
        }

    # -- training -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Latents:
        """See ``Backbone.encode``; the condition is what the stock pipeline prepares for the first frame.

        ``image``: (B, T, C + 1, h, w), its latent followed by zeros, and the mask. ``embeds``: (B, tokens, D), SigLIP.
        """
        return Latents.cat([self._encode(clip) for clip in frames])

    def _encode(self, clip: Tensor) -> Latents:
        """(F, 3, H, W) → latents of a batch of one."""
        pipeline, picture, size = self._pipeline, to_picture(clip[0]), clip.shape[-2:]
        mode = self.vae.encode(clip.transpose(0, 1)[None].to(self.vae.dtype)).latent_dist.mode()
        x0 = (mode * self.vae.config.scaling_factor).float()
        where: dict[str, Any] = {"dtype": self.dtype, "device": clip.device}
        given = pipeline.prepare_cond_latents_and_mask(x0, picture, 1, *size, **where)
        embeds = pipeline.encode_image(picture, 1, **where)
        image = torch.cat(given, dim=1).transpose(1, 2).float()
        return Latents(x0.transpose(1, 2), {"image": image, "embeds": embeds.float()})

    def denoise(self, x_t: Tensor, t: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Predict the flow (B, T, C, h, w) with the inputs that the stock pipeline would give."""
        prompts = [getattr(self, name).expand(len(t), *getattr(self, name).shape[1:]) for name in PROMPTS]
        prediction: Tensor = self.transformer(
            hidden_states=torch.cat([x_t, condition["image"]], dim=2).transpose(1, 2).to(self.dtype),
            timestep=t.to(self.dtype),
            encoder_hidden_states=prompts[0],
            encoder_attention_mask=prompts[1],
            encoder_hidden_states_2=prompts[2],
            encoder_attention_mask_2=prompts[3],
            image_embeds=condition["embeds"].to(self.dtype),
            return_dict=False,
        )[0]
        return prediction.transpose(1, 2)

    @torch.no_grad()
    def probe(self) -> Tensor:
        """See ``Backbone.probe``."""
        config, generator = self.transformer.config, torch.Generator().manual_seed(0)
        side, channels = 2 * config.patch_size, self.vae.config.latent_channels
        shapes = {"x_t": (channels, side, side), "image": (channels + 1, side, side)}
        noise = {k: torch.randn(1, 2 * config.patch_size_t, *v, generator=generator) for k, v in shapes.items()}
        noise["embeds"] = torch.randn(1, 4, config.image_embed_dim, generator=generator)
        noise = {k: v.to(self.transformer.device) for k, v in noise.items()}
        return self.denoise(noise["x_t"], noise["x_t"].new_tensor([500.0]), noise).float()

    # -- prediction ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self, first_frame: Tensor, num_frames: int, generators: Sequence[torch.Generator], steps: int, guidance: float
    ) -> Tensor:
        """See ``Backbone.sample``."""
        pipeline = self._pipeline
        pipeline.guider.guidance_scale = guidance
        prompts = {f"{p}{name}": getattr(self, f"{p}{name}") for p in ("", "negative_") for name in PROMPTS}
        settings = {"num_frames": num_frames, "num_inference_steps": steps, "output_type": "latent"}
        with torch.autocast(first_frame.device.type, enabled=False):
            latents = [
                pipeline(image=to_picture(frame), generator=[generator], **prompts, **settings).frames
                for frame, generator in zip(first_frame, generators, strict=True)
            ]
        return torch.cat(latents).transpose(1, 2)

    @torch.no_grad()
    def decode(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """See ``Backbone.decode``. F' is F; one by one, and in the VAE's own dtype, as in ``sample``."""
        z = latents.to(self.vae.dtype).transpose(1, 2) / self.vae.config.scaling_factor
        with torch.autocast(latents.device.type, enabled=False):
            video = torch.cat([self.vae.decode(sample[None], return_dict=False)[0] for sample in z])
        return video.transpose(1, 2).float().clamp(-1, 1)

    @torch.no_grad()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """See ``Backbone.reconstruct``; one by one: diffusers 0.42 decodes no batch, its mask does not fit."""
        return self.decode(self.encode(frames).x0, [])


@contextmanager
def silent(*loggers: str) -> Iterator[None]:
    """Within it, what these loggers warn of is not printed: remarks on their own code that no user can act on."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def empty_mask(frames: int, area: int, dtype: torch.dtype, device: torch.device, batch_size: int) -> Tensor:
    """The VAE's attention mask without values, to count its cost: diffusers 0.42 fills it row by row, for minutes."""
    return torch.empty(frames * area, frames * area, dtype=dtype, device=device).expand(batch_size, -1, -1)


@torch.no_grad()
def qwen_and_byt5(checkpoint: Checkpoint, prompts: Sequence[str], length: int) -> dict[str, list[Tensor]]:
    """Embeddings and masks of both text encoders per prompt, by the stock pipeline and with its own lengths."""
    from diffusers import HunyuanVideo15ImageToVideoPipeline
    from transformers import AutoTokenizer, Qwen2_5_VLTextModel, T5EncoderModel

    models = {"text_encoder": Qwen2_5_VLTextModel, "text_encoder_2": T5EncoderModel}
    tokenizers = {"tokenizer": AutoTokenizer, "tokenizer_2": AutoTokenizer}
    with torch.device("meta"):  # the pipeline asks its VAE for the number of channels
        vae = AutoencoderKLHunyuanVideo15.from_config(checkpoint.config("vae"))
    pipeline = text_pipeline(checkpoint, HunyuanVideo15ImageToVideoPipeline, models, tokenizers, vae=vae)
    encoded = [pipeline.encode_prompt(prompt, device=torch.device("cpu")) for prompt in prompts]
    return {name: [row[i][0].float() for row in encoded] for i, name in enumerate(PROMPTS)}
