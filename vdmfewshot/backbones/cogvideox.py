"""CogVideoX image-to-video, versions 1.0 and 1.5, through diffusers' own classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel
from torch import Tensor

from vdmfewshot.backbones.base import Backbone, Latents
from vdmfewshot.backbones.checkpoint import check_frames, check_side
from vdmfewshot.backbones.objective import VPrediction
from vdmfewshot.backbones.prompt import prompt_embeds, t5
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.defaults import EMBEDDED, PAPERS

#: constant that CogVideoX 1.5 I2V was trained with ("offset" embedding); the stock pipeline's value
OFS = 2.0


class CogVideoX(Backbone):
    """CogVideoX-5b-I2V, CogVideoX1.5-5B-I2V, or the small embedded model of the same classes.

    Args:
        path: ``embedded`` (shipped with this package), a folder in diffusers layout, or a hub id ``owner/name``.
        prompt: the one neutral text, the same in training and prediction.
        dtype: of the frozen weights; the adapter is always fp32.
        revision: branch, tag or commit of a hub id.
        init: ``pretrained``, or ``random`` for the control experiment with the same architecture and random denoiser.
        memory: what may cost time to save memory.
        timestep_shift: above 1, more of the training is spent where noise is high, see ``VPrediction``; 4 for the
            embedded model and 1 for others if not given.

    Raises:
        ValueError: if ``timestep_shift`` is not above 0.
    """

    prompt_embeds: Tensor
    negative_prompt_embeds: Tensor
    pipeline_class = CogVideoXImageToVideoPipeline
    transformer_class = CogVideoXTransformer3DModel
    vae_class = AutoencoderKLCogVideoX
    schedulers = ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")
    repeated_blocks = ("CogVideoXBlock",)
    lora_targets = r".*transformer_blocks\.\d+\.(attn1\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.(0\.proj|2))"

    def __init__(
        self,
        path: str = "embedded",
        prompt: str = "",
        dtype: Literal["fp32", "bf16"] = "fp32",
        revision: str | None = None,
        init: Literal["pretrained", "random"] = "pretrained",
        memory: MemoryArgs = MemoryArgs(),  # noqa: B008 (frozen)
        timestep_shift: float | None = None,
    ) -> None:
        super().__init__(path, prompt, dtype, revision, init, memory)
        self.preset = EMBEDDED if path == "embedded" else PAPERS
        self.timestep_shift = self.preset.timestep_shift if timestep_shift is None else timestep_shift
        if self.timestep_shift <= 0:
            raise ValueError(f"timestep_shift must be above 0, got {timestep_shift}; 1 draws all noise levels alike")

    def check_clip(self, num_frames: int, height: int, width: int) -> None:
        """Apply the rules of the checkpoint's configuration; see ``Backbone.check_clip``."""
        transformer, vae = (self.checkpoint.config(part) for part in ("transformer", "vae"))
        k = int(vae.get("temporal_compression_ratio", 4))
        check_frames(num_frames, k, "CogVideoX")
        stride = 2 ** (len(vae["block_out_channels"]) - 1)
        # 8 is the stock pipeline's own check; patches must tile the latents.
        multiple = math.lcm(8, stride * int(transformer["patch_size"]))
        for name, side in (("height", height), ("width", width)):
            check_side(name, side, multiple, "CogVideoX")
            limit = stride * int(transformer[f"sample_{name}"])
            # Version 1.5 cuts its rotary grid out of one of the trained size; the stock pipeline fails beyond it.
            if transformer.get("patch_size_t") and transformer["use_rotary_positional_embeddings"] and side > limit:
                raise ValueError(f"{name} must be at most {limit} for this checkpoint, got {side}")
        if transformer.get("use_learned_positional_embeddings"):
            legal = (stride * transformer["sample_height"], stride * transformer["sample_width"])
            if (height, width) != legal:
                raise ValueError(
                    f"height x width must be {legal[0]}x{legal[1]} for this checkpoint, whose positions are learned, "
                    f"got {height}x{width}; set data.height={legal[0]} and data.width={legal[1]}"
                )

    def _prompts(self) -> Mapping[str, Tensor]:
        config = self.transformer.config
        length = int(config.max_text_seq_length)
        shape = (length, config.text_embed_dim)
        embeds = prompt_embeds(self.checkpoint, self.prompt, length, t5, prompt_embeds=shape)
        return {name: tensor.to(self.dtype) for name, tensor in embeds.items()}

    @property
    def objective(self) -> VPrediction:
        """v-prediction on the checkpoint's own schedule."""
        return VPrediction(self._pipeline.scheduler.alphas_cumprod, self.timestep_shift)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Latents:
        """See ``Backbone.encode``. T = ⌈latent frames / patch_size_t⌉ · patch_size_t.

        Version 1.5 pads an incomplete temporal patch at the *front* with copies of the first video latent: the stock
        pipeline drops exactly these after sampling. The condition is the first frame's latent at position 0; with
        ``invert_scale_latents`` it is divided, not multiplied, by the scaling factor.
        """
        video = frames.to(self.vae.dtype).permute(0, 2, 1, 3, 4)
        scale = self.vae.config.scaling_factor
        x0 = self._mode(video) * scale
        p_t = self.transformer.config.patch_size_t or 1
        x0 = torch.cat([x0[:, :1]] * (-x0.shape[1] % p_t) + [x0], dim=1)
        image = self._mode(video[:, :, :1])
        image = image / scale if self.vae.config.invert_scale_latents else image * scale
        rest = image.new_zeros(image.shape[0], x0.shape[1] - 1, *image.shape[2:])
        return Latents(x0.float(), {"image": torch.cat([image, rest], dim=1).float()})

    def _mode(self, video: Tensor) -> Tensor:
        """(B, 3, F, H, W) → posterior mode (B, T, C, h, w), unscaled."""
        mode: Tensor = self.vae.encode(video).latent_dist.mode()
        return mode.permute(0, 2, 1, 3, 4)

    def denoise(self, x_t: Tensor, t: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Predict the velocity (B, T, C, h, w) with the inputs that the stock pipeline would give."""
        b, frames, _, h, w = x_t.shape
        config = self.transformer.config
        stride = self._pipeline.vae_scale_factor_spatial
        rotary = None
        if config.use_rotary_positional_embeddings:
            rotary = self._pipeline._prepare_rotary_positional_embeddings(h * stride, w * stride, frames, x_t.device)
        prediction: Tensor = self.transformer(
            hidden_states=torch.cat([x_t, condition["image"]], dim=2).to(self.dtype),
            encoder_hidden_states=self.prompt_embeds.expand(b, -1, -1),
            timestep=t,
            ofs=None if config.ofs_embed_dim is None else x_t.new_full((1,), OFS),
            image_rotary_emb=rotary,
            return_dict=False,
        )[0]
        return prediction

    @torch.no_grad()
    def sample(
        self, first_frame: Tensor, num_frames: int, generators: Sequence[torch.Generator], steps: int, guidance: float
    ) -> Tensor:
        """See ``Backbone.sample``."""
        b, _, height, width = first_frame.shape
        latents: Tensor = self._pipeline(
            image=(first_frame + 1) / 2,
            height=height,
            width=width,
            num_frames=num_frames,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=list(generators),
            prompt_embeds=self.prompt_embeds.expand(b, -1, -1),
            negative_prompt_embeds=self.negative_prompt_embeds.expand(b, -1, -1),
            output_type="latent",
        ).frames
        wanted = (num_frames - 1) // self._pipeline.vae_scale_factor_temporal + 1
        return latents[:, latents.shape[1] - wanted :]

    @torch.no_grad()
    def decode(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """See ``Backbone.decode``. An even number of latents decodes to 4n frames: 8 for a 5-frame request."""
        video: Tensor = self._pipeline.decode_latents(latents)
        return video.permute(0, 2, 1, 3, 4).float().clamp(-1, 1)

    def decode_last(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """See ``Backbone.decode_last``: the last latent as a still image, a seventh of the work for 9 frames.

        Not what the stock pipeline shows: group norms see all frames of a chunk and convolutions the frames before. But
        a latent of equal frames is close to that of a still image.
        """
        return self.decode(latents[:, -1:], generators)

    def reconstruct_still(self, images: Tensor, num_frames: int) -> Tensor:
        """See ``Backbone.reconstruct_still``: before the first frame the VAE sees copies of it, so one frame is enough.

        Equal to rounding (8e-7 of 2 on the embedded model), for a tenth of the work of 9 frames.
        """
        return super().reconstruct_still(images, 1)

    @property
    def frames_per_latent(self) -> int:
        """See ``Backbone.frames_per_latent``."""
        return int(self._pipeline.vae_scale_factor_temporal)

    @torch.no_grad()
    def probe(self) -> Tensor:
        """See ``Backbone.probe``."""
        config, generator = self.transformer.config, torch.Generator().manual_seed(0)
        learned = config.use_learned_positional_embeddings
        height, width = (config.sample_height, config.sample_width) if learned else [2 * config.patch_size] * 2
        shape = (1, config.patch_size_t or 1, config.in_channels // 2, height, width)
        x_t, condition = (torch.randn(shape, generator=generator).to(self.transformer.device) for _ in range(2))
        t = torch.tensor([500], device=x_t.device)
        return self.denoise(x_t, t, {"image": condition}).float()
