"""Wan 2.1 and 2.2 image-to-video through diffusers' own classes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from PIL import Image
from torch import Tensor

from vdmfewshot.backbones.base import Backbone, Latents
from vdmfewshot.backbones.checkpoint import fingerprint
from vdmfewshot.backbones.objective import FlowMatching
from vdmfewshot.backbones.prompt import prompt_embeds
from vdmfewshot.backbones.umt5 import LENGTH, umt5
from vdmfewshot.backbones.wan_layout import WanLayout, check_flow
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.clips.clip import to_image


class Wan(Backbone):
    """Wan 2.1 I2V-14B, Wan 2.2 I2V-A14B and TI2V-5B; text-to-video checkpoints (2.1 1.3B) as an experiment.

    How the network is given the first frame follows from its number of input channels:

    - More than a latent has (I2V-14B, I2V-A14B): a mask and the latents of "the image, then grey" on channels. Version
      2.1 also attends to the image's CLIP embedding.
    - As many (TI2V-5B, text-to-video): the first latent is the image's, clean, its tokens have timestep 0, and it is
      no part of the loss; diffusers' ``expand_timesteps``. TI2V-5B was trained so. Text-to-video checkpoints were not:
      they have never seen a timestep per token, and whether an adapter teaches it to them is an experiment.

    I2V-A14B has two experts: ``transformer`` where noise is high (σ ≥ ``boundary_ratio``), ``transformer_2`` below.
    An adapter is trained on one of them, at timesteps of its range only; the other works as it is in prediction.

    Prediction is one call of the stock ``WanImageToVideoPipeline`` per sample. Given B generators, it encodes B images
    B times (B² conditions) and fails; given ``image_embeds``, it refuses the image that it cannot do without. One by
    one, results are the stock pipeline's bit for bit, whatever the batch, and a network that reads thousands of tokens
    a clip is busy with one. The image goes in as an 8-bit picture: from a tensor, CLIP would be given other values.

    Args:
        path: a folder in diffusers layout, or a hub id ``owner/name``.
        prompt: the one neutral text, the same in training and prediction.
        dtype: of the frozen denoiser; VAE and CLIP are fp32, as in diffusers' examples; the adapter is always fp32.
        revision: branch, tag or commit of a hub id.
        init: ``pretrained``, or ``random`` for the control experiment with the same architecture and random denoiser.
        memory: what may cost time to save memory.
        expert: which of two experts is adapted; ``high_noise`` for checkpoints with one network.
    """

    prompt_embeds: Tensor
    negative_prompt_embeds: Tensor
    transformer_class = WanTransformer3DModel
    vae_class = AutoencoderKLWan
    schedulers = ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler")
    blocks_name = "blocks"
    lora_targets = r"blocks\.\d+\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"

    def __init__(
        self,
        path: str,
        prompt: str = "",
        dtype: Literal["fp32", "bf16"] = "fp32",
        revision: str | None = None,
        init: Literal["pretrained", "random"] = "pretrained",
        memory: MemoryArgs = MemoryArgs(),  # noqa: B008 (frozen)
        expert: Literal["high_noise", "low_noise"] = "high_noise",
    ) -> None:
        super().__init__(path, prompt, dtype, revision, init, memory)
        self.expert = expert
        self.transformer_2: Any = None
        self.image_encoder: Any = None

    # -- configuration ------------------------------------------------------------------------------------------------

    def check_clip(self, num_frames: int, height: int, width: int) -> None:
        """Apply the rules of the checkpoint's configuration; see ``Backbone.check_clip``."""
        self._layout().check_shape(num_frames, height, width)

    def _layout(self) -> WanLayout:
        """The checkpoint's kind; refuses what is not for image-to-video, and an expert that is not there."""
        layout = WanLayout.read(self.checkpoint)
        layout.check_expert(self.expert)
        check_flow(self.checkpoint)
        return layout

    @property
    def objective(self) -> FlowMatching:
        """Flow matching with the scheduler's own shift, over the noise levels of the adapted expert."""
        config = self._pipeline.scheduler.config
        shift = config.flow_shift if "flow_shift" in config else config.shift
        return FlowMatching(float(shift), config.num_train_timesteps, *self._sigmas)

    @property
    def _sigmas(self) -> tuple[float, float]:
        """Noise levels [low, high) that the adapted expert denoises."""
        boundary = self._pipeline.config.get("boundary_ratio")
        if boundary is None:
            return 0.0, 1.0
        return (boundary, 1.0) if self.expert == "high_noise" else (0.0, boundary)

    # -- weights ------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """See ``Backbone.load``; also reads the second expert and CLIP, where the checkpoint has them."""
        if self._pipeline is not None:
            return
        layout, self.pipeline_class = self._layout(), self._pipeline_class()
        self.given_latents = int(layout.given_latent)
        if layout.given_latent and not layout.trained_so:
            self.pipeline_kwargs = {"expand_timesteps": True}
        if self.expert == "low_noise":
            self.lora_kwargs = {"load_into_transformer_2": True}
        if layout.boundary_ratio is not None:
            self.transformer_2 = self._denoiser("transformer_2").requires_grad_(False).eval()
        if layout.clip:
            clip = self.checkpoint.model(self._image_encoder_class(), "image_encoder", torch.float32)
            self.image_encoder = clip.requires_grad_(False).eval()
        super().load()
        # Checkpoints that share a VAE need not share conditions.
        encoders = [self.encoder_fingerprint, fingerprint(self.image_encoder, {}) if layout.clip else layout]
        self.encoder_fingerprint = hashlib.sha256(repr(encoders).encode()).hexdigest()[:16]

    def _pipeline_class(self) -> Any:
        from diffusers import WanImageToVideoPipeline  # imports CLIP, without which other families start faster

        return WanImageToVideoPipeline

    def _image_encoder_class(self) -> Any:
        from transformers import CLIPVisionModel

        return CLIPVisionModel

    @property
    def vae_dtype(self) -> torch.dtype:
        """fp32, as in diffusers' examples for Wan."""
        return torch.float32

    @property
    def denoiser(self) -> Any:
        """The adapted expert."""
        return self.transformer if self.expert == "high_noise" else self.transformer_2

    def _prompts(self) -> Mapping[str, Tensor]:
        shape = (LENGTH, self.transformer.config.text_dim)
        embeds = prompt_embeds(self.checkpoint, self.prompt, LENGTH, umt5, prompt_embeds=shape)
        return {name: tensor.to(self.dtype) for name, tensor in embeds.items()}

    def _parts(self) -> dict[str, Any]:
        layout, processor = self._layout(), None
        if layout.clip:
            from transformers import CLIPImageProcessor

            processor = self.checkpoint.processor(CLIPImageProcessor, "image_processor")
        return {
            **super()._parts(),
            "transformer_2": self.transformer_2,
            "image_encoder": self.image_encoder,
            "image_processor": processor,
            "boundary_ratio": layout.boundary_ratio,
            "expand_timesteps": layout.given_latent,
        }

    # -- training -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Latents:
        """See ``Backbone.encode``; the condition is what the stock pipeline prepares for the first frame.

        ``image``: (B, T, mask and latent channels, h, w), or (B, 1, C, h, w) where the first latent is given.
        ``clip``: (B, tokens, D), where the network attends to an embedding of the image.
        """
        return Latents.cat([self._encode(clip) for clip in frames])

    def _encode(self, clip: Tensor) -> Latents:
        """(F, 3, H, W) → latents of a batch of one."""
        num_frames, _, height, width = clip.shape
        latents = self.vae.encode(clip.transpose(0, 1)[None].to(self.vae.dtype)).latent_dist.mode().float()
        mean, reciprocal = self._statistics(latents)
        x0 = (latents - mean) * reciprocal
        shape = (1, self.vae.config.z_dim, height, width, num_frames)
        _, given, *_ = self._pipeline.prepare_latents(clip[:1].float(), *shape, torch.float32, clip.device, latents=x0)
        condition = {"image": given.transpose(1, 2)}
        if self.image_encoder is not None:
            condition["clip"] = self._pipeline.encode_image(to_picture(clip[0]), clip.device).float()
        return Latents(x0.transpose(1, 2), condition)

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and reciprocal standard deviation (1, C, 1, 1, 1) of latents; the stock pipeline rounds so, too."""
        moments = (self.vae.config.latents_mean, self.vae.config.latents_std)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1).to(latents) for values in moments)
        return mean, 1.0 / std

    def denoise(self, x_t: Tensor, t: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Predict the flow (B, T, C, h, w) with the inputs that the stock pipeline would give.

        Of two experts it is the adapted one, whose timesteps are those that ``objective`` draws. Where the first latent
        is given, it is the condition's, whatever ``x_t`` has there.
        """
        if self.given_latents:
            hidden = torch.cat([condition["image"], x_t[:, 1:]], dim=1)
            timestep = self._per_token(t, hidden)
        else:
            hidden = torch.cat([x_t, condition["image"]], dim=2)
            timestep = t
        clip = condition.get("clip")
        prediction: Tensor = self.denoiser(
            hidden_states=hidden.transpose(1, 2).to(self.dtype),
            timestep=timestep,
            encoder_hidden_states=self.prompt_embeds.expand(len(t), -1, -1),
            encoder_hidden_states_image=None if clip is None else clip.to(self.dtype),
            return_dict=False,
        )[0]
        return prediction.transpose(1, 2)

    def _per_token(self, t: Tensor, hidden: Tensor) -> Tensor:
        """Timesteps t (B,) → (B, tokens): 0 for tokens of the first latent frame of (B, T, C, h, w)."""
        _, p_h, p_w = self.transformer.config.patch_size
        tokens = (hidden.shape[3] // p_h) * (hidden.shape[4] // p_w)
        rest = t[:, None].expand(-1, tokens * (hidden.shape[1] - 1))
        return torch.cat([t.new_zeros(len(t), tokens), rest], dim=1)

    @torch.no_grad()
    def probe(self) -> Tensor:
        """See ``Backbone.probe``; in the middle of the adapted expert's noise levels."""
        config, channels = self.transformer.config, self.vae.config.z_dim
        side, generator = 2 * max(config.patch_size), torch.Generator().manual_seed(0)
        shapes: dict[str, tuple[int, ...]] = {"x_t": (2, channels, side, side)}
        shapes["image"] = (1, channels, side, side)
        if not self.given_latents:
            shapes["image"] = (2, config.in_channels - channels, side, side)
        if config.image_dim is not None:
            shapes["clip"] = (4, config.image_dim)
        noise = {k: torch.randn((1, *shape), generator=generator) for k, shape in shapes.items()}
        noise = {k: v.to(self.prompt_embeds.device) for k, v in noise.items()}
        t = noise["x_t"].new_full((1,), sum(self._sigmas) / 2 * self._pipeline.scheduler.config.num_train_timesteps)
        return self.denoise(noise.pop("x_t"), t, noise).float()

    # -- prediction ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self, first_frame: Tensor, num_frames: int, generators: Sequence[torch.Generator], steps: int, guidance: float
    ) -> Tensor:
        """See ``Backbone.sample``. In the weights' own dtypes, as the stock pipeline, whatever the run's autocast."""
        _, _, height, width = first_frame.shape
        settings = {
            "height": height,
            "width": width,
            "num_frames": num_frames,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "prompt_embeds": self.prompt_embeds,
            "negative_prompt_embeds": self.negative_prompt_embeds,
            "output_type": "latent",
        }
        with torch.autocast(first_frame.device.type, enabled=False):
            latents = [
                self._pipeline(image=to_picture(frame), generator=[generator], **settings).frames
                for frame, generator in zip(first_frame, generators, strict=True)
            ]
        return torch.cat(latents).transpose(1, 2)

    @torch.no_grad()
    def decode(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """See ``Backbone.decode``. F' is F; one by one, and in the VAE's own dtype, as in ``sample``."""
        with torch.autocast(latents.device.type, enabled=False):
            return torch.cat([self._decode(sample[None].transpose(1, 2)) for sample in latents])

    def _decode(self, latents: Tensor) -> Tensor:
        """(1, C, T, h, w) → (1, F, 3, H, W) in [-1, 1]."""
        latents = latents.to(self.vae.dtype)
        mean, reciprocal = self._statistics(latents)
        video: Tensor = self.vae.decode(latents / reciprocal + mean, return_dict=False)[0]
        return video.transpose(1, 2).float().clamp(-1, 1)


def to_picture(frame: Tensor) -> Image.Image:
    """(3, H, W) in [-1, 1] → 8-bit RGB, lossless for what comes from ``clip.to_frame``."""
    if frame.is_meta:  # estimates of cost ask for shapes alone
        frame = torch.zeros(frame.shape)
    return Image.fromarray(np.round(to_image(frame)).astype(np.uint8))
