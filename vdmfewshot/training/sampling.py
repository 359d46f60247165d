"""How predictions are generated: quality against cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal

import torch
from torch import Tensor

from vdmfewshot.backbones.base import Backbone
from vdmfewshot.defaults import Preset
from vdmfewshot.lora.adapters import merged
from vdmfewshot.storage.documents import Kind, misfit

#: (denoising steps, guidance scale), 0 steps for those of the model's preset; other numbers of steps, measured:
#: docs/results/defaults, and python -m benchmarks.predict --score
QUALITY: dict[str, tuple[int, float]] = {
    "auto": (0, 1.0),
    "one": (1, 1.0),
    "few": (4, 1.0),
    "fast": (10, 1.0),
    "paper": (50, 6.0),
}
#: what JSON may hold for each argument
STORED: dict[str, Kind] = {
    "quality": str,
    "steps": (int, NoneType),
    "guidance": (int, float, NoneType),
    "attempts": int,
    "views": int,
    "max_batch": int,
    "merge": bool,
    "decode": str,
}


@dataclass(frozen=True)
class SamplingArgs:
    """How predictions are generated.

    Args:
        quality: steps and guidance in one word: auto is what suits the model, one step for the embedded one and 10 for
            others; one is 1 step, few 4 and fast 10, all without guidance; paper, the upstream default, is 50 with
            guidance 6.
        steps: denoising steps; default: those of the quality.
        guidance: classifier-free guidance scale; 1 is off and halves the cost; default: that of the quality.
        attempts: predictions per query, each from its own noise (K of pass@k).
        views: versions of each query that are asked, the query itself first, where there are some. An ARC input under
            symmetries or other colours (``data.augmentation``): each gets all attempts, and the answers, turned back,
            are voted on together. A mask's picture and its mirror image (2): the mean of both frames, turned back, is
            read. Right only for rules that hold in every version.
        max_batch: samples in one call, queries of a batch times views and attempts; less needs less memory.
        merge: add the adapter to a copy of the weights that it adapts while generating: faster, equal to rounding.
            Quantised, sharded and offloaded weights are left alone.
        decode: what of a clip is decoded: the last frame, from the last latent alone where the family can and the clip
            ends in as many equal frames as a latent holds (a seventh of the work, equal to within the VAE's own error);
            or all frames, exactly as the stock pipeline does.
    """

    quality: Literal["auto", "one", "few", "fast", "paper"] = "auto"
    steps: int | None = None
    guidance: float | None = None
    attempts: int = 1
    views: int = 1
    max_batch: int = 16
    merge: bool = True
    decode: Literal["last", "clip"] = "last"

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: naming rule and value.
        """
        for name, words in (("quality", tuple(QUALITY)), ("decode", ("last", "clip"))):
            if getattr(self, name) not in words:
                raise ValueError(f"sampling.{name} must be one of {', '.join(words)}, got {getattr(self, name)!r}")
        for name in ("steps", "attempts", "views", "max_batch"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"sampling.{name} must be at least 1, got {getattr(self, name)}")
        if self.guidance_scale < 1:
            raise ValueError(f"sampling.guidance must be at least 1 (off), got {self.guidance_scale}")

    @classmethod
    def stored(cls, values: Mapping[str, Any]) -> SamplingArgs:
        """As an adapter's manifest holds them; what is missing has its default.

        Raises:
            ValueError: naming what is unknown, of a wrong type or out of range.
        """
        if unknown := sorted(values.keys() - STORED.keys()):
            raise ValueError(f"sampling: {unknown[0]} is unknown")
        if problem := misfit(values, {name: STORED[name] for name in values}):
            raise ValueError(f"sampling: {problem}")
        return cls(**values)

    def num_inference_steps(self, preset: Preset) -> int:
        """``steps`` if given, else those of ``quality``, else those of the model."""
        return self.steps or QUALITY[self.quality][0] or preset.sampling_steps

    @property
    def guidance_scale(self) -> float:
        """``guidance`` if given, else that of ``quality``."""
        return QUALITY[self.quality][1] if self.guidance is None else self.guidance


def sample_clips(
    backbone: Backbone,
    first_frames: Tensor,
    num_frames: int,
    generators: Sequence[torch.Generator],
    sampling: SamplingArgs,
    still: int = 0,
    announce: Callable[[slice], None] = lambda part: None,
) -> tuple[Tensor, Tensor]:
    """What follows images, in as few calls as ``max_batch`` allows.

    Args:
        backbone: with its adapter.
        first_frames: (N, 3, H, W) in [-1, 1]; equal ones are encoded once.
        num_frames: F of the clips.
        generators: N generators, one a sample, so that results do not depend on the batch.
        sampling: how.
        still: frames at the end of a clip that are equal.
        announce: told which samples the next call is about.

    Returns:
        latents (N, T, C, h, w) and what was decoded of them, (N, F', 3, H, W) in [-1, 1].
    """
    alone = sampling.decode == "last" and still >= backbone.frames_per_latent
    decode = backbone.decode_last if alone else backbone.decode
    steps = sampling.num_inference_steps(backbone.preset)
    latents, frames = [], []
    with merged(backbone.denoiser, sampling.merge), backbone.first_frames_encoded_once():
        for start in range(0, len(first_frames), sampling.max_batch):
            part = slice(start, start + sampling.max_batch)
            announce(part)
            noise, guidance = generators[part], sampling.guidance_scale
            latents.append(backbone.sample(first_frames[part], num_frames, noise, steps, guidance))
            frames.append(decode(latents[-1], noise))
    return torch.cat(latents), torch.cat(frames)
