"""LTX-2 image-to-video through diffusers' own classes: its video stream."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from torch import Tensor

from vdmfewshot.backbones.base import Backbone, Latents
from vdmfewshot.backbones.checkpoint import Checkpoint, check_frames, check_side
from vdmfewshot.backbones.ltx import LtxVideo
from vdmfewshot.backbones.prompt import prompt_embeds, text_pipeline
from vdmfewshot.budget.memory import MemoryArgs

#: text tokens of the stock pipeline, and what its connectors make of them: for video, for audio, and their mask
LENGTH = 1024
CONNECTED = ("video_prompt_embeds", "audio_prompt_embeds", "prompt_embeds_mask")


class Ltx2(LtxVideo):
    """LTX-2 (19B) and LTX-2.3 (22B), by ``LTX2ImageToVideoPipeline``; only the 14B of the video stream are adapted.

    The first latent frame is the input image itself, as in ``LtxVideo``. What becomes of audio:

    - Training has none. The streams are isolated, as in the pipeline's own calls for modality guidance, so that the
      audio stream, one token of zeros, has no effect on video. So does Lightricks' trainer without audio.
    - Prediction is the stock pipeline, which denoises audio beside the video and lets each attend to the other. The
      audio is neither decoded nor returned.

    Of the stock pipeline's guidance terms only the classifier-free one is used, by ``sampling.guidance``; the image is
    not re-compressed (``image_crf`` 0); ``use_cross_timestep`` is that of the checkpoint's version, as documented.

    Args:
        path: a folder in diffusers layout, or a hub id ``owner/name``.
        prompt: the one neutral text, the same in training and prediction.
        dtype: of the frozen weights; the adapter is always fp32.
        revision: branch, tag or commit of a hub id.
        init: ``pretrained``, or ``random`` for the control experiment with the same architecture and random denoiser.
        memory: what may cost time to save memory.
        frame_rate: frames per second, by which temporal positions are counted; 24 is the pipeline's.
    """

    video_prompt_embeds: Tensor
    audio_prompt_embeds: Tensor
    prompt_embeds_mask: Tensor
    transformer_class: type[Any] = LTX2VideoTransformer3DModel
    vae_class: type[Any] = AutoencoderKLLTX2Video

    def __init__(
        self,
        path: str,
        prompt: str = "",
        dtype: Literal["fp32", "bf16"] = "fp32",
        revision: str | None = None,
        init: Literal["pretrained", "random"] = "pretrained",
        memory: MemoryArgs = MemoryArgs(),  # noqa: B008 (frozen)
        frame_rate: float = 24.0,
    ) -> None:
        super().__init__(path, prompt, dtype, revision, init, memory, frame_rate)

    # -- configuration ------------------------------------------------------------------------------------------------

    def check_clip(self, num_frames: int, height: int, width: int) -> None:
        """Apply the rules of the checkpoint's configuration; see ``Backbone.check_clip``."""
        transformer, config = (self.checkpoint.config(part) for part in ("transformer", "vae"))
        if config.get("timestep_conditioning"):
            raise ValueError(f"vae.timestep_conditioning must be False for LTX-2, got True in {self.checkpoint.path!r}")
        with torch.device("meta"):  # the compression ratios are attributes of the class, which may derive them
            vae = self.vae_class.from_config(config)
        check_frames(num_frames, int(vae.temporal_compression_ratio), "LTX-2")
        multiple = math.lcm(32, int(vae.spatial_compression_ratio) * int(transformer.get("patch_size", 1)))
        for name, side in (("height", height), ("width", width)):
            check_side(name, side, multiple, "LTX-2")  # 32 is the stock pipeline's own check
            if side < 2 * multiple:  # the decoder pads latents by reflection
                raise ValueError(f"{name} must be at least {2 * multiple} for LTX-2, got {side}")

    # -- weights ------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """See ``Backbone.load``."""
        from diffusers import LTX2ImageToVideoPipeline  # imports text encoders, without which others start faster

        self.pipeline_class = LTX2ImageToVideoPipeline
        Backbone.load(self)

    def _prompts(self) -> Mapping[str, Tensor]:
        config = self.transformer.config
        widths = (config.cross_attention_dim, config.audio_cross_attention_dim)
        if config.use_prompt_embeddings:
            widths = (config.caption_channels, config.caption_channels)
        shapes = dict(zip(CONNECTED, ((LENGTH, widths[0]), (LENGTH, widths[1]), (LENGTH,)), strict=True))
        tensors = prompt_embeds(self.checkpoint, self.prompt, LENGTH, connected_gemma, **shapes)
        return {f"{p}{n}": tensors[f"{p}{n}"].to(self.dtype) for p in ("", "negative_") for n in CONNECTED}

    def _parts(self) -> dict[str, Any]:
        """The pipeline asks the audio VAE for sizes and statistics; no sound is decoded: it needs no weights."""
        with torch.device("meta"):
            audio = AutoencoderKLLTX2Audio.from_config(self.checkpoint.config("audio_vae"))
        sizes = AudioSizes(audio.config, audio.mel_compression_ratio, audio.temporal_compression_ratio)
        return {**super()._parts(), "audio_vae": sizes, "vocoder": None, "connectors": self._connected}

    def _connected(self, embeds: Tensor, mask: Tensor, padding_side: str) -> tuple[Tensor, ...]:
        """In place of the connectors, their results: of the prompt for embeddings of 1, of the negative one for 0."""
        rows = [("" if positive else "negative_") for positive in embeds[:, 0, 0].bool().tolist()]
        return tuple(torch.cat([getattr(self, f"{row}{name}") for row in rows]) for name in CONNECTED)

    # -- training -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Latents:
        """See ``LtxVideo.encode``; clips one by one, so that latents do not depend on the batch."""
        return Latents.cat([super(Ltx2, self).encode(clip[None]) for clip in frames])

    def denoise(self, x_t: Tensor, t: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Predict the velocity (B, T, C, h, w) with the video inputs of the stock pipeline, streams isolated.

        The first latent of ``x_t`` is replaced by the image; what is predicted there means nothing.
        """
        b, frames, _, h, w = x_t.shape
        given = torch.zeros_like(x_t[:, :, :1])
        given[:, :1] = 1
        tokens, network = (
            self._pack(torch.cat([condition["image"], x_t[:, 1:]], dim=1)).to(self.dtype),
            self.transformer,
        )
        video, audio, mask = (getattr(self, name).expand(b, *getattr(self, name).shape[1:]) for name in CONNECTED)
        prediction: Tensor = network(
            hidden_states=tokens,
            audio_hidden_states=tokens.new_zeros(b, 1, network.config.audio_in_channels),
            encoder_hidden_states=video,
            audio_encoder_hidden_states=audio,
            timestep=t[:, None] * (1 - self._pack(given).squeeze(-1)),
            audio_timestep=t,
            sigma=t,
            encoder_attention_mask=mask,
            audio_encoder_attention_mask=mask,
            num_frames=frames,
            height=h,
            width=w,
            fps=self.frame_rate,
            audio_num_frames=1,
            video_coords=network.rope.prepare_video_coords(b, frames, h, w, x_t.device, fps=self.frame_rate),
            audio_coords=network.audio_rope.prepare_audio_coords(b, 1, x_t.device),
            isolate_modalities=True,
            use_cross_timestep=self._cross_timestep,
            return_dict=False,
        )[0]
        return self._unpack(prediction, (frames, h, w))

    @property
    def _cross_timestep(self) -> bool:
        """Of versions after 2.0, which have no projection of prompts in the network."""
        return not self.transformer.config.use_prompt_embeddings

    # -- prediction ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self, first_frame: Tensor, num_frames: int, generators: Sequence[torch.Generator], steps: int, guidance: float
    ) -> Tensor:
        """See ``Backbone.sample``. One by one: the pipeline's noise for audio follows that for video of all samples."""
        pairs = zip(first_frame, generators, strict=True)
        with torch.autocast(first_frame.device.type, enabled=False):
            return torch.cat([self._sample(*pair, num_frames, steps, guidance) for pair in pairs])

    def _sample(
        self, image: Tensor, generator: torch.Generator, num_frames: int, steps: int, guidance: float
    ) -> Tensor:
        """(3, H, W) in [-1, 1] → (1, T, C, h, w). The pipeline returns latents that are no longer normalised."""
        height, width = image.shape[1:]
        kept: list[Tensor] = []

        def keep(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            kept[:] = [tensors["latents"]]
            return {}

        sign = torch.ones(1, 1, 1, dtype=self.dtype, device=image.device)
        self._pipeline(
            image=(image[None] + 1) / 2,
            image_crf=0,
            height=height,
            width=width,
            num_frames=num_frames,
            frame_rate=self.frame_rate,
            num_inference_steps=steps,
            guidance_scale=guidance,
            **dict.fromkeys(("stg_scale", "guidance_rescale", "audio_stg_scale", "audio_guidance_rescale"), 0.0),
            **dict.fromkeys(("modality_scale", "audio_modality_scale"), 1.0),
            audio_guidance_scale=guidance,
            use_cross_timestep=self._cross_timestep,
            generator=[generator],
            prompt_embeds=sign,
            negative_prompt_embeds=0 * sign,
            prompt_attention_mask=sign[..., 0],
            negative_prompt_attention_mask=sign[..., 0],
            output_type="latent",
            callback_on_step_end=keep,
        )
        stride, k = self._pipeline.vae_spatial_compression_ratio, self._pipeline.vae_temporal_compression_ratio
        return self._unpack(kept[0], ((num_frames - 1) // k + 1, height // stride, width // stride))

    @torch.no_grad()
    def decode(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """See ``Backbone.decode``. F' is F; one by one, and in the VAE's own dtype, as in ``sample``."""
        vae, z = self.vae, latents.to(self.dtype).transpose(1, 2)
        z = self._pipeline._denormalize_latents(z, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
        with torch.autocast(latents.device.type, enabled=False):
            video = torch.cat([vae.decode(sample[None].to(vae.dtype), None, return_dict=False)[0] for sample in z])
        return video.transpose(1, 2).float().clamp(-1, 1)


@dataclass(frozen=True)
class AudioSizes:
    """What the stock pipeline reads of an audio VAE, by its names; statistics are of no effect without decoding."""

    config: Any
    mel_compression_ratio: int
    temporal_compression_ratio: int
    latents_mean: Tensor = field(default_factory=lambda: torch.zeros(1))
    latents_std: Tensor = field(default_factory=lambda: torch.ones(1))


@torch.no_grad()
def connected_gemma(checkpoint: Checkpoint, prompts: Sequence[str], length: int) -> dict[str, list[Tensor]]:
    """What the pipeline's text encoder and connectors make of each prompt; both are dropped afterwards."""
    import transformers
    from diffusers import LTX2ImageToVideoPipeline
    from diffusers.pipelines.ltx2 import LTX2TextConnectors

    name = checkpoint.config("pipeline")["text_encoder"][1]
    allowed = ("Gemma3ForConditionalGeneration", "Gemma4UnifiedForConditionalGeneration")
    if name not in allowed:
        raise ValueError(f"text_encoder must be one of {', '.join(allowed)}, got {name!r} in {checkpoint.path!r}")
    models = {"text_encoder": getattr(transformers, name), "connectors": LTX2TextConnectors}
    tokenizers = {"tokenizer": transformers.AutoTokenizer}
    pipeline = text_pipeline(checkpoint, LTX2ImageToVideoPipeline, models, tokenizers)
    rows = []
    for prompt in prompts:
        where = {"max_sequence_length": length, "device": torch.device("cpu")}
        embeds, mask, *_ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, **where)
        rows.append(pipeline.connectors(embeds, mask, padding_side=pipeline.tokenizer.padding_side))
    return {name: [row[i][0].float() for row in rows] for i, name in enumerate(CONNECTED)}
