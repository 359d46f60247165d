"""LTX-Video image-to-video, versions 0.9.5 to 0.9.8, 2B and 13B, through diffusers' own classes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from diffusers import LTXConditionPipeline

from vdmfewshot.backbones.ltx import LtxVideo
from vdmfewshot.backbones.prompt import t5_masked
from vdmfewshot.budget.memory import MemoryArgs


class LtxVideoCondition(LtxVideo):
    """LTX-Video 0.9.5, 0.9.7 and 0.9.8, 2B and 13B, distilled or not, by ``LTXConditionPipeline``.

    ``LTXImageToVideoPipeline`` does not suffice for them, even with one image: their latent frames lie at 0, 1, 9, 17 …
    frames, not at 0, 8, 16, 24; their text encoder does not see its padding; their denoising steps are linear, then
    quadratic; and only this pipeline takes the timesteps of the distilled checkpoints. The image stays clean while
    sampling (``image_cond_noise_scale`` 0, as in diffusers' documentation of 0.9.7 and 0.9.8), as it does in training.

    Args:
        path: a folder in diffusers layout, or a hub id ``owner/name``.
        prompt: the one neutral text, the same in training and prediction.
        dtype: of the frozen weights; the adapter is always fp32.
        revision: branch, tag or commit of a hub id.
        init: ``pretrained``, or ``random`` for the control experiment with the same architecture and random denoiser.
        memory: what may cost time to save memory.
        frame_rate: frames per second, by which temporal positions are counted; 25 is the pipeline's.
        decode_timestep: noise level in [0, 1] that the decoder is told; 0.05 is what diffusers' documentation has.
        decode_noise_scale: share of noise in [0, 1] in the latents that the decoder is given;
            0.025 is what diffusers' examples use.
        timesteps: in [0, 1000], falling, for distilled checkpoints. Used when ``sampling.steps`` is their number;
            any other number of steps takes the pipeline's own schedule.
    """

    pipeline_class = LTXConditionPipeline
    prompt_length = 256
    prompt_encoder = staticmethod(t5_masked)
    dynamic_shifting = False

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
        timesteps: list[float] | None = None,
    ) -> None:
        super().__init__(path, prompt, dtype, revision, init, memory, frame_rate, decode_timestep, decode_noise_scale)
        given = [1000.0, *(timesteps or []), 0.0]
        if any(a < b for a, b in pairwise(given)):
            raise ValueError(f"timesteps must fall within [0, 1000], got {timesteps}")
        self.timesteps = timesteps

    def _positions(self, b: int, shape: Sequence[int], device: torch.device) -> dict[str, Any]:
        pipeline = self._pipeline
        ids = pipeline._prepare_video_ids(b, *shape, *self._patches, device=device)
        stride, k = pipeline.vae_spatial_compression_ratio, pipeline.vae_temporal_compression_ratio
        coords = pipeline._scale_video_ids(ids, scale_factor=stride, scale_factor_t=k, device=device).float()
        coords[:, 0] = coords[:, 0] * (1.0 / self.frame_rate)
        return {"video_coords": coords}

    def _schedule(self, steps: int) -> dict[str, Any]:
        custom = self.timesteps if self.timesteps and len(self.timesteps) == steps else None
        return {"num_inference_steps": steps, "timesteps": custom, "image_cond_noise_scale": 0.0}
