"""The one interface of all video model families."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vdmfewshot.backbones.checkpoint import Checkpoint, cast, fingerprint
from vdmfewshot.backbones.late_cast import LateCast
from vdmfewshot.backbones.objective import Objective
from vdmfewshot.backbones.posterior import PosteriorMemory
from vdmfewshot.budget import memory
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.clips.rng import derive_seed
from vdmfewshot.defaults import PAPERS, Preset

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Latents:
    """What the denoiser needs of a clip; everything in it is constant during training and therefore cached.

    Attributes:
        x0: (B, T, C, h, w) scaled video latents, T padded as the family demands.
        condition: what the denoiser is given of the first frame, by the family's own names; each (B, ...).
    """

    x0: Tensor
    condition: Mapping[str, Tensor]

    def to(self, device: torch.device | str) -> Latents:
        """The same latents on ``device``."""
        return Latents(self.x0.to(device), {k: v.to(device) for k, v in self.condition.items()})

    @staticmethod
    def cat(parts: Sequence[Latents]) -> Latents:
        """Stack samples into one batch."""
        condition = {k: torch.cat([p.condition[k] for p in parts]) for k in parts[0].condition}
        return Latents(torch.cat([p.x0 for p in parts]), condition)


class Backbone(nn.Module, ABC):
    """A frozen image-to-video diffusion model behind a few methods. It knows its family and no task.

    ``__init__`` stores arguments only; ``check_clip`` reads configuration files only; weights appear in ``load``.

    Args:
        path: a folder in diffusers layout, or a hub id ``owner/name``.
        prompt: the one neutral text, the same in training and prediction.
        dtype: of the frozen weights; the adapter is always fp32.
        revision: branch, tag or commit of a hub id.
        init: ``pretrained``, or ``random`` for the control experiment with the same architecture and random denoiser.
        memory: what may cost time to save memory.
    """

    #: diffusers pipeline class of the family: samples, and writes and reads adapters in the diffusers format
    pipeline_class: type[Any]
    transformer_class: type[Any]
    vae_class: type[Any]
    #: scheduler classes that a checkpoint of the family may name
    schedulers: tuple[str, ...]
    #: regular expression for the modules that LoRA adapts by default
    lora_targets: str
    #: the denoiser's list of repeated blocks, and the entry of its configuration that says how many there are
    blocks_name: str = "transformer_blocks"
    depth_name: str = "num_layers"
    #: class names of the denoiser's repeated blocks, for compilation; empty: diffusers knows them
    repeated_blocks: tuple[str, ...] = ()
    #: what suits the model where a run does not say otherwise
    preset: Preset = PAPERS
    #: leading latent frames that are the input image itself: kept clean, not generated and not part of the loss
    given_latents: int = 0
    #: what of the stock pipeline loads adapters
    lora_loader: str = "load_lora_weights"
    #: what ``from_pretrained`` and that loader of the stock pipeline must be told to give what we give
    pipeline_kwargs: Mapping[str, Any] = MappingProxyType({})
    lora_kwargs: Mapping[str, Any] = MappingProxyType({})

    vae: Any
    transformer: Any

    def __init__(
        self,
        path: str,
        prompt: str = "",
        dtype: Literal["fp32", "bf16"] = "fp32",
        revision: str | None = None,
        init: Literal["pretrained", "random"] = "pretrained",
        memory: MemoryArgs = MemoryArgs(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self.checkpoint = Checkpoint(path, revision)
        self.prompt = prompt
        self.dtype = DTYPES[dtype]
        self.init = init
        self.memory = memory
        #: name frozen denoiser and encoder by content; set by ``load``
        self.fingerprint: str | None = None
        self.encoder_fingerprint: str | None = None
        #: set before ``load`` where several processes read the same files
        self.late_cast: LateCast | None = None
        self._pipeline: Any = None
        self._posteriors = PosteriorMemory()

    # -- configuration ------------------------------------------------------------------------------------------------

    @abstractmethod
    def check_clip(self, num_frames: int, height: int, width: int) -> None:
        """Refuse clip shapes that the family cannot process, before any weight is read.

        Raises:
            ValueError: naming the rule, the value and the nearest legal values.
        """

    @property
    @abstractmethod
    def objective(self) -> Objective:
        """Noise schedule and regression target."""

    # -- weights ------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read VAE, denoiser, scheduler and prompt; freeze everything. Idempotent."""
        if self._pipeline is not None:
            return
        self.vae = self.checkpoint.model(self.vae_class, "vae", self.vae_dtype).requires_grad_(False).eval()
        self.transformer = self._denoiser("transformer").requires_grad_(False).eval()
        if self.memory.vae_tiling:
            self.vae.enable_tiling()
        self.fingerprint = fingerprint(self.denoiser, dict(self.denoiser.config))
        self.encoder_fingerprint = fingerprint(self.vae, dict(self.vae.config))
        for denoiser in self.denoisers:
            memory.apply(self.memory, denoiser, getattr(denoiser, self.blocks_name))
        for name, tensor in self._prompts().items():
            self.register_buffer(name, tensor, persistent=False)
        # The pipeline borrows our modules; it is no nn.Module and owns no weights.
        self._pipeline = self.pipeline_class(**self._parts())
        self._pipeline.set_progress_bar_config(disable=True)

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Compile each repeated block of the denoiser at its first call with each shape."""
        for denoiser in self.denoisers:
            if self.repeated_blocks:
                denoiser._repeated_blocks = list(self.repeated_blocks)
            denoiser.compile_repeated_blocks(dynamic=False, backend=backend)

    def _denoiser(self, part: str) -> Any:
        """The checkpoint's transformer, or the same architecture with random weights: the control experiment."""
        if self.init == "pretrained":
            if self.late_cast is not None:
                return self.late_cast.read(self.checkpoint, self.transformer_class, part)
            return self.checkpoint.model(self.transformer_class, part, self.dtype)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("random denoiser"))
            model = self.transformer_class.from_config(self.checkpoint.config(part))
            for p in model.parameters():
                if p.ndim > 1 and not p.any():  # gates that start closed would hide the adapter behind them
                    nn.init.normal_(p, std=0.02)
        return cast(model, self.dtype)

    @property
    def vae_dtype(self) -> torch.dtype:
        """Of the frozen VAE; families whose VAE needs more than the denoiser's dtype say so."""
        return self.dtype

    @abstractmethod
    def _prompts(self) -> Mapping[str, Tensor]:
        """Buffers of the neutral prompt and of the negative one, by the pipeline's own argument names."""

    def _parts(self) -> dict[str, Any]:
        """Arguments of the stock pipeline; it has no text encoder, since the prompt is embedded already."""
        parts = {"vae": self.vae, "transformer": self.transformer, "tokenizer": None, "text_encoder": None}
        return {**parts, "scheduler": self.checkpoint.scheduler(self.schedulers)}

    @property
    def denoiser(self) -> Any:
        """The network that LoRA adapts (a diffusers model with ``PeftAdapterMixin``)."""
        return self.transformer

    @property
    def blocks(self) -> nn.ModuleList:
        """The repeated blocks of ``denoiser``."""
        blocks: nn.ModuleList = getattr(self.denoiser, self.blocks_name)
        return blocks

    @property
    def denoisers(self) -> list[Any]:
        """All networks that denoise: the adapted one, and a second expert where there is one."""
        return [child for name, child in self.named_children() if name.startswith("transformer")]

    @property
    def encoders(self) -> list[nn.Module]:
        """VAE and image encoder: idle in training, where latents are cached."""
        return [child for name, child in self.named_children() if not name.startswith("transformer")]

    def move_encoders(self, device: torch.device | str) -> None:
        """Bring the encoders to a device, or away from it; free of charge if they are there."""
        for encoder in self.encoders:
            encoder.to(device)

    def _apply(self, fn: Any, recurse: bool = True) -> Backbone:
        """Move everything but offloaded weights."""
        if self.late_cast is not None:
            self.late_cast.settle(self.parameters(), fn)
        with memory.in_place(self.denoisers if self.memory.offload == "group" else []):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch annotates no argument
        return self

    @property
    def pipeline(self) -> Any:
        """The stock diffusers pipeline over our modules, without text encoder."""
        return self._pipeline

    # -- training -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, frames: Tensor) -> Latents:
        """Clips (B, F, 3, H, W) in [-1, 1] → latents and first-frame condition. Deterministic: posterior modes."""

    @abstractmethod
    def denoise(self, x_t: Tensor, t: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The network's prediction (B, T, C, h, w) at timesteps t (B,), with gradients for the adapter."""

    @abstractmethod
    def probe(self) -> Tensor:
        """The denoiser's output on one fixed random input of the smallest legal shape: equal weights, equal output."""

    # -- prediction ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self, first_frame: Tensor, num_frames: int, generators: Sequence[torch.Generator], steps: int, guidance: float
    ) -> Tensor:
        """What follows an image; equal to the family's stock diffusers image-to-video pipeline, bit for bit.

        Args:
            first_frame: (B, 3, H, W) in [-1, 1].
            num_frames: F, legal by ``check_clip``.
            generators: B generators, one a sample, so that results do not depend on the batch.
            steps: denoising steps.
            guidance: classifier-free guidance scale; 1.0 is off and halves the cost.

        Returns:
            (B, F', 3, H, W) in [-1, 1]; F' is what the stock pipeline returns, which may exceed F.
        """
        with self.first_frames_encoded_once():
            latents = self.sample(first_frame, num_frames, generators, steps, guidance)
        return self.decode(latents, generators)

    def first_frames_encoded_once(self) -> AbstractContextManager[None]:
        """Within the context, ``sample`` encodes images that it has seen before no more, with the same bits."""
        return self._posteriors.of(self.vae)

    @abstractmethod
    def sample(
        self, first_frame: Tensor, num_frames: int, generators: Sequence[torch.Generator], steps: int, guidance: float
    ) -> Tensor:
        """Latents of ``generate`` before decoding, (B, T, C, h, w) as training has them, without padding."""

    @abstractmethod
    def decode(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Latents of ``sample`` → frames (B, F', 3, H, W) in [-1, 1], as the stock pipeline decodes them.

        The generators go on where ``sample`` left them, for families whose decoder takes noise.
        """

    def decode_last(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The end of the clip, (B, F'', 3, H, W) in [-1, 1] with F'' ≥ 1: its last frame is what is scored.

        Families that can decode it for less than the clip do, within the error of their VAE, if the clip ends in
        ``frames_per_latent`` equal frames; otherwise the whole clip.
        """
        return self.decode(latents, generators)

    @property
    def frames_per_latent(self) -> int:
        """How many equal frames at the end of a clip ``decode_last`` needs."""
        return 0

    @torch.no_grad()
    def reconstruct(self, frames: Tensor) -> Tensor:
        """Clips (B, F, 3, H, W) through encoder and decoder: the best that any prediction can look like."""
        video = frames.to(self.vae.dtype).permute(0, 2, 1, 3, 4)
        decoded: Tensor = self.vae.decode(self.vae.encode(video).latent_dist.mode()).sample
        return decoded.permute(0, 2, 1, 3, 4).float().clamp(-1, 1)

    def reconstruct_still(self, images: Tensor, num_frames: int) -> Tensor:
        """Images (B, 3, H, W) as still clips of F frames through ``reconstruct``: the last frame of each.

        Families whose autoencoder makes the same of one frame as of F equal ones pass one.
        """
        return self.reconstruct(images.unsqueeze(1).repeat(1, num_frames, 1, 1, 1))[:, -1]
