"""LTX-Video image-to-video, versions 0.9 and 0.9.1, through diffusers' own classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from diffusers import AutoencoderKLLTXVideo, LTXImageToVideoPipeline, LTXVideoTransformer3DModel
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from vdmfewshot.backbones.base import Backbone, Latents
from vdmfewshot.backbones.checkpoint import check_frames, check_side
from vdmfewshot.backbones.objective import LogitNormalFlow
from vdmfewshot.backbones.prompt import PromptEncoder, prompt_embeds, t5_with_mask
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.clips.rng import derive_seed, named_generator

PROMPTS = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
#: whether the scheduler shifts noise levels by the length of the clip → the versions, and their backbone
VERSIONS = {True: ("0.9 or 0.9.1", "LtxVideo"), False: ("0.9.5 or later", "LtxVideoCondition")}


class LtxVideo(Backbone):
    """LTX-Video 0.9 and 0.9.1 (2B), by ``LTXImageToVideoPipeline``.

    The first latent frame is the input image itself: given clean, at timestep 0 (one timestep per token), not part of
    the loss. For 0.9.5 and later see ``LtxVideoCondition``.

    Args:
        path: a folder in diffusers layout, or a hub id ``owner/name``.
        prompt: the one neutral text, the same in training and prediction.
        dtype: of the frozen weights; the adapter is always fp32.
        revision: branch, tag or commit of a hub id.
        init: ``pretrained``, or ``random`` for the control experiment with the same architecture and random denoiser.
        memory: what may cost time to save memory.
        frame_rate: frames per second, by which temporal positions are counted; 25 is the pipeline's.
        decode_timestep: noise level in [0, 1] that a timestep-conditioned decoder (0.9.1 and later) is told; 0.05 is
            what the documentation of diffusers recommends.
        decode_noise_scale: share of noise in [0, 1] in the latents that such a decoder is given;
            0.025 is what diffusers' examples use.
    """

    prompt_embeds: Tensor
    prompt_attention_mask: Tensor
    negative_prompt_embeds: Tensor
    negative_prompt_attention_mask: Tensor
    pipeline_class: type[Any] = LTXImageToVideoPipeline
    transformer_class = LTXVideoTransformer3DModel
    vae_class = AutoencoderKLLTXVideo
    schedulers = ("FlowMatchEulerDiscreteScheduler",)
    lora_targets = r".*transformer_blocks\.\d+\.(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.(0\.proj|2))"
    given_latents = 1
    #: the pipeline's default number of text tokens, and the text encoder as the pipeline calls it
    prompt_length = 128
    prompt_encoder: PromptEncoder = staticmethod(t5_with_mask)
    #: see ``VERSIONS``
    dynamic_shifting = True

    def __init__(
        self,
        path: str,
        prompt: str = "",
        dtype: Literal["fp32", "bf16"] = "fp32",
        revision: str | None = None,
        init: Literal["pretrained", "random"] = "pretrained",
        memory: MemoryArgs = MemoryArgs(),  # noqa: B008 (frozen)
        frame_rate: float = 25.0,
        decode_timestep: float = 0.05,
        decode_noise_scale: float = 0.025,
    ) -> None:
        super().__init__(path, prompt, dtype, revision, init, memory)
        if frame_rate <= 0:
            raise ValueError(f"frame_rate must be positive, got {frame_rate}")
        for name, value in (("decode_timestep", decode_timestep), ("decode_noise_scale", decode_noise_scale)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        self.frame_rate = frame_rate
        self.decode_timestep = decode_timestep
        self.decode_noise_scale = decode_noise_scale

    # -- configuration ------------------------------------------------------------------------------------------------

    def check_clip(self, num_frames: int, height: int, width: int) -> None:
        """Apply the rules of the checkpoint's configuration; see ``Backbone.check_clip``."""
        self._check_version()
        with torch.device("meta"):  # the compression ratios are attributes of the class, which may derive them
            vae = self.vae_class.from_config(self.checkpoint.config("vae"))
        check_frames(num_frames, int(vae.temporal_compression_ratio), "LTX-Video")
        # 32 is the stock pipeline's own check; patches must tile the latents.
        patch = int(self.checkpoint.config("transformer").get("patch_size", 1))
        multiple = math.lcm(32, int(vae.spatial_compression_ratio) * patch)
        for name, side in (("height", height), ("width", width)):
            check_side(name, side, multiple, "LTX-Video")

    def _check_version(self) -> None:
        """The scheduler tells the versions apart: 0.9 and 0.9.1 shift dynamically, later ones do not."""
        config = self.checkpoint.config("scheduler")
        shifts = bool(config.get("use_dynamic_shifting", False))
        if shifts != self.dynamic_shifting:
            version, backbone = VERSIONS[shifts]
            raise ValueError(
                f"the scheduler of {self.checkpoint.path!r} is that of LTX-Video {version}; for that the backbone must "
                f"be {backbone}, got {type(self).__name__}"
            )
        if config.get("stochastic_sampling", False):
            raise ValueError(
                f"scheduler of {self.checkpoint.path!r} must not set stochastic_sampling: not reproducible"
            )

    @property
    def objective(self) -> LogitNormalFlow:
        """Flow matching at the noise levels of LTX-Video-Trainer, the trainer of arXiv 2510.24448 for this family.

        The stock scheduler shifts its inference schedule by the same μ (0.9, 0.9.1).
        """
        return LogitNormalFlow(num_train_timesteps=int(self._pipeline.scheduler.config.num_train_timesteps))

    def _prompts(self) -> Mapping[str, Tensor]:
        length, encode = self.prompt_length, self.prompt_encoder
        shape = (length, self.transformer.config.caption_channels)
        tensors = prompt_embeds(self.checkpoint, self.prompt, length, encode, prompt_embeds=shape)
        for name in PROMPTS[1::2]:  # an embedding that ships with a checkpoint may have no masks
            tensors.setdefault(name, torch.ones(tensors["prompt_embeds"].shape[:2], dtype=torch.bool))
        return {n: tensors[n].to(self.dtype) if n.endswith("embeds") else tensors[n].bool() for n in PROMPTS}

    # -- layout -------------------------------------------------------------------------------------------------------

    @property
    def _patches(self) -> tuple[int, int]:
        return self._pipeline.transformer_spatial_patch_size, self._pipeline.transformer_temporal_patch_size

    def _pack(self, latents: Tensor) -> Tensor:
        """(B, T, C, h, w) → tokens (B, T·h·w, C), by the pipeline."""
        tokens: Tensor = self._pipeline._pack_latents(latents.transpose(1, 2), *self._patches)
        return tokens

    def _unpack(self, tokens: Tensor, shape: Sequence[int]) -> Tensor:
        """Inverse of ``_pack`` for (T, h, w)."""
        latents: Tensor = self._pipeline._unpack_latents(tokens, *shape, *self._patches)
        return latents.transpose(1, 2)

    def _positions(self, b: int, shape: Sequence[int], device: torch.device) -> dict[str, Any]:
        """What the network is told about the place of its tokens, for latents (T, h, w)."""
        stride = self._pipeline.vae_spatial_compression_ratio
        scale = (self._pipeline.vae_temporal_compression_ratio / self.frame_rate, stride, stride)
        return {**dict(zip(("num_frames", "height", "width"), shape, strict=True)), "rope_interpolation_scale": scale}

    # -- training -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Latents:
        """See ``Backbone.encode``. The condition ``image`` is (B, 1, C, h, w).

        The stock pipeline leaves the VAE's ``scaling_factor`` out when it normalises the image, and divides by it when
        it denormalises the video; so do we. It is 1 in every published checkpoint.
        """
        video = frames.to(self.vae.dtype).transpose(1, 2)
        x0 = self._normalize(video, self.vae.config.scaling_factor)
        return Latents(x0, {"image": self._normalize(video[:, :, :1], 1.0)})

    def _normalize(self, video: Tensor, scaling_factor: float) -> Tensor:
        """(B, 3, F, H, W) → posterior mode (B, T, C, h, w) of zero mean and unit variance per channel, fp32."""
        mode = self.vae.encode(video).latent_dist.mode().float()
        mean, std = self.vae.latents_mean, self.vae.latents_std
        latents: Tensor = self._pipeline._normalize_latents(mode, mean, std, scaling_factor)
        return latents.transpose(1, 2)

    def denoise(self, x_t: Tensor, t: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Predict the velocity (B, T, C, h, w) with the inputs that the stock pipeline would give.

        The first latent of ``x_t`` is replaced by the image; what is predicted there means nothing.
        """
        b, frames, _, h, w = x_t.shape
        given = torch.zeros_like(x_t[:, :, :1])
        given[:, : self.given_latents] = 1
        tokens = self._pack(torch.cat([condition["image"], x_t[:, self.given_latents :]], dim=1))
        prediction: Tensor = self.transformer(
            hidden_states=tokens.to(self.dtype),
            encoder_hidden_states=self.prompt_embeds.expand(b, -1, -1),
            timestep=t[:, None] * (1 - self._pack(given).squeeze(-1)),
            encoder_attention_mask=self.prompt_attention_mask.expand(b, -1),
            return_dict=False,
            **self._positions(b, (frames, h, w), x_t.device),
        )[0]
        return self._unpack(prediction, (frames, h, w))

    # -- prediction ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self, first_frame: Tensor, num_frames: int, generators: Sequence[torch.Generator], steps: int, guidance: float
    ) -> Tensor:
        """See ``Backbone.sample``. As in the stock pipeline, the image's latent is drawn from its posterior."""
        b, _, height, width = first_frame.shape
        pipeline = self._pipeline
        latents: Tensor = pipeline(
            image=(first_frame + 1) / 2,
            height=height,
            width=width,
            num_frames=num_frames,
            frame_rate=self.frame_rate,
            guidance_scale=guidance,
            generator=list(generators),
            output_type="latent",
            **{name: getattr(self, name).expand(b, *getattr(self, name).shape[1:]) for name in PROMPTS},
            **self._schedule(steps),
        ).frames
        stride, k = pipeline.vae_spatial_compression_ratio, pipeline.vae_temporal_compression_ratio
        if latents.ndim == 3:
            return self._unpack(latents, ((num_frames - 1) // k + 1, height // stride, width // stride))
        return latents.transpose(1, 2)

    def _schedule(self, steps: int) -> dict[str, Any]:
        """Arguments of the pipeline that say where the denoising steps are."""
        return {"num_inference_steps": steps}

    @torch.no_grad()
    def decode(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """See ``Backbone.decode``.

        A timestep-conditioned decoder takes noise, for which ``LTXImageToVideoPipeline`` accepts one generator but
        fails with a list of them. Each sample here has the noise that the stock pipeline draws when it is called with
        that sample and its generator alone. The decoder of 0.9.1 also injects noise from torch's global generator,
        which is seeded for each sample here and restored afterwards.
        """
        vae = self.vae
        z = latents.transpose(1, 2)
        z = self._pipeline._denormalize_latents(z, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
        # Injected noise is shared by a batch; and diffusers' own slicing mixes up the samples if there is a timestep.
        size = 1 if any(vae.config.decoder_inject_noise) or vae.use_slicing else len(z)
        parts = [slice(i, i + size) for i in range(0, len(z), size)]
        video = torch.cat([self._decode_part(z[part].to(self.dtype), generators[part]) for part in parts])
        return video.transpose(1, 2).float().clamp(-1, 1)

    def _decode_part(self, z: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        timestep = None
        if self.vae.config.timestep_conditioning:
            noise = randn_tensor(z.shape, generator=list(generators), device=z.device, dtype=z.dtype)
            timestep = z.new_full((len(z),), self.decode_timestep)
            scale = z.new_tensor(self.decode_noise_scale)
            z = (1 - scale) * z + scale * noise
        with torch.random.fork_rng(devices=[z.device] if z.is_cuda else []):
            torch.manual_seed(derive_seed("decoder noise", generators[0].initial_seed()))
            video: Tensor = self.vae.decode(z, timestep, return_dict=False)[0]
        return video

    @torch.no_grad()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """See ``Backbone.reconstruct``; the decoder is given noise as in ``decode``, from a fixed seed."""
        return self.decode(self.encode(frames).x0, [named_generator("reconstruct") for _ in frames])

    @torch.no_grad()
    def probe(self) -> Tensor:
        """See ``Backbone.probe``."""
        generator, channels = torch.Generator().manual_seed(0), self.transformer.config.in_channels
        x_t = torch.randn(1, 2, channels, 1, 1, generator=generator).to(self.transformer.device)
        return self.denoise(x_t, torch.tensor([500.0], device=x_t.device), {"image": x_t[:, :1]}).float()
