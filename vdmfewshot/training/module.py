"""The LightningModule: a frozen video diffusion model plus LoRA. It knows the order of calls and nothing of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from vdmfewshot.backbones.base import Backbone, Latents
from vdmfewshot.backbones.objective import draw_noise, loss_per_sample, paint_weight
from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.clips.rng import derive_seed, named_generator, run_seed
from vdmfewshot.clips.transition import still_frames
from vdmfewshot.data import views
from vdmfewshot.lora import adapters
from vdmfewshot.lora.adapters import LoraArgs, Manifest
from vdmfewshot.lora.source import locate
from vdmfewshot.training.cache import LatentCache
from vdmfewshot.training.processes import leave_frozen_alone, read_together, require_same_weights
from vdmfewshot.training.sampling import SamplingArgs, sample_clips

#: value of ``adapter`` that says: evaluate the frozen backbone itself
UNTRAINED = "untrained"


class FewShotModule(LightningModule):
    """Adapts a frozen video diffusion model to one task.

    Args:
        backbone: the frozen model.
        lora: size and place of the adapter.
        optimizer: of the adapter's parameters.
        lr_scheduler: stepped after every optimiser step; constant if ``None``.
        sampling: how predictions are generated.
        adapter: folder of a saved adapter to start from, or ``hf:owner/name`` or ``hf:owner/name@revision`` for one on
            the Hub; untrained if ``None`` or the word ``untrained``, with which ``test`` and ``predict`` accept that
            there is no adapter.
        cache_dir: where latents are kept between runs; ``None`` keeps them in memory only.
        seed: of adapter weights, training noise and generation noise; ``None`` takes ``seed_everything``.
        emphasis: k; squared errors count 1 + k times where the target's frame is painted on. 0 is the papers' loss. If
            not given, what suits the model where the data module says that its targets are ``sparse``, else 0.
        compile: compile the denoiser's repeated blocks: pays off over many steps of few shapes.
    """

    def __init__(
        self,
        backbone: Backbone,
        lora: LoraArgs = LoraArgs(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=4e-3, weight_decay=0.0),
        lr_scheduler: LRSchedulerCallable | None = None,
        sampling: SamplingArgs = SamplingArgs(),  # noqa: B008 (frozen)
        adapter: str | None = None,
        cache_dir: str | None = None,
        seed: int | None = None,
        emphasis: float | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if emphasis is not None and emphasis < 0:
            raise ValueError(f"emphasis must be at least 0 (the plain loss), got {emphasis}")
        self.backbone = backbone
        self.lora = lora
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.sampling = sampling
        self.adapter = None if adapter in (None, UNTRAINED) else locate(str(adapter))
        self.cache_dir = Path(cache_dir) if cache_dir is not None else None
        self.seed = seed
        self.emphasis = emphasis
        self.compile_blocks = compile
        self.strict_loading = False  # checkpoints leave the frozen weights out; on_load_checkpoint checks the rest
        self._cache: LatentCache | None = None
        self._configured = False

    # -- weights ------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Refuse illegal clips and missing adapters before any weight is read."""
        if self.adapter is not None:
            adapters.require_adapter(self.adapter)
        if self._datamodule is not None:
            self.backbone.check_clip(*self._datamodule.clip_shape)
            views.check(self._datamodule, self.sampling.views)

    def configure_model(self) -> None:
        """Read the frozen weights, inject the adapter, fill it if a folder was named. Idempotent."""
        if self._configured:
            return
        if together := self._trainer is not None and self.trainer.world_size > 1:
            read_together(self.backbone)
        self.backbone.load()
        adapters.inject(self.backbone.denoiser, self.lora, self.backbone.lora_targets, run_seed(self.seed))
        self._fill_adapter()
        if self.compile_blocks:
            self.backbone.compile_blocks()
        self._cache = LatentCache(str(self.backbone.encoder_fingerprint), self.cache_dir)
        if together:
            require_same_weights(self.trainer.strategy, self._base)
            leave_frozen_alone(self)
        self._configured = True

    def _fill_adapter(self) -> None:
        if self.adapter is not None:
            codec = None if self._datamodule is None else self._datamodule.codec.spec_hash
            adapters.load_adapter(self.adapter, self.backbone.denoiser, self._base, codec)

    def configure_optimizers(self) -> Any:
        """Optimise the adapter alone."""
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        if self.lr_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.lr_scheduler(optimizer), "interval": "step"},
        }

    @property
    def _datamodule(self) -> Any:
        return getattr(self._trainer, "datamodule", None) if self._trainer is not None else None

    @property
    def _base(self) -> str:
        return str(self.backbone.fingerprint)

    # -- training -----------------------------------------------------------------------------------------------------

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Mean over the batch of the per-sample diffusion loss.

        Raises:
            FloatingPointError: if the loss is not finite; no optimiser step is taken with it.
        """
        if self.lora.dropout > 0:
            torch.manual_seed(derive_seed(run_seed(self.seed), "dropout", batch.ordinals))
        losses = self.losses(batch)
        loss = losses.mean()
        if not torch.isfinite(loss):
            bad = [p.key for p, value in zip(batch.pairs, losses, strict=True) if not torch.isfinite(value)]
            raise FloatingPointError(
                f"training loss is {loss.item()} at step {self.global_step} for {bad}; lower the learning rate or "
                "use dtype fp32; the last checkpoint is still good"
            )
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch))
        return loss

    def losses(self, batch: ClipBatch) -> Tensor:
        """Per-sample losses (B,) at the noise level and noise that belong to the batch's ordinals."""
        latents, objective = self.latents(batch), self.backbone.objective
        x0 = latents.x0
        u, eps = draw_noise(run_seed(self.seed), batch.ordinals, x0.shape[1:])
        t, eps = objective.timestep(u, x0.shape[1:]).to(x0.device), eps.to(x0.device)
        prediction = self.backbone.denoise(objective.corrupt(x0, eps, t), t, latents.condition)
        free = slice(self.backbone.given_latents, None)
        k = self.paint_emphasis
        weight = paint_weight(x0, k) if k else 1.0
        return loss_per_sample(prediction[:, free], objective.target(x0, eps, t)[:, free], weight)

    @property
    def paint_emphasis(self) -> float:
        """``emphasis`` if given, else what suits model and data."""
        if self.emphasis is not None:
            return self.emphasis
        return self.backbone.preset.emphasis if getattr(self._datamodule, "sparse", False) else 0.0

    def latents(self, batch: ClipBatch) -> Latents:
        """Cached latents of the batch; the VAE runs on clips never seen before."""
        assert self._cache is not None, "configure_model has not run"
        # Encoding in the weights' own dtype keeps cached values independent of the run's autocast.
        with torch.autocast(self.device.type, enabled=False):
            return self._cache.get(batch, self.backbone.encode)

    # -- prediction ---------------------------------------------------------------------------------------------------

    # Lightning: a Tensor or a dict
    def validation_step(self, batch: ClipBatch, batch_idx: int) -> ClipBatch:  # type: ignore[override]
        """The batch with ``generated`` filled; callbacks score and draw it."""
        return self.generate(batch)

    # Lightning: a Tensor or a dict
    def test_step(self, batch: ClipBatch, batch_idx: int) -> ClipBatch:  # type: ignore[override]
        """As ``validation_step``."""
        return self.generate(batch)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> ClipBatch:
        """As ``validation_step``."""
        return self.generate(batch)

    def generate(self, batch: ClipBatch) -> ClipBatch:
        """K attempts per query; noise depends on (seed, key, attempt) alone, not on batch, worker or rank.

        K is the number of views times that of attempts, those at the query itself first; of masks, whose views are
        merged, that of attempts.
        """
        data, asked = self._datamodule, self.sampling.views
        attempts = self.sampling.attempts * asked
        generators = [
            named_generator(run_seed(self.seed), "generate", pair.key, attempt)
            for pair in batch.pairs
            for attempt in range(attempts)
        ]
        images = views.first_frames(data, batch, asked).repeat_interleave(self.sampling.attempts, 0)
        num_frames = data.clip_shape[0]
        still = still_frames(num_frames, data.transition)
        announce = self._announcer([task for task in batch.tasks for _ in range(attempts)])
        drawn = sample_clips(self.backbone, images, num_frames, generators, self.sampling, still, announce)
        latents, generated = (x.reshape(len(batch), attempts, *x.shape[1:]) for x in drawn)
        return views.merged(data, replace(batch, generated=generated, latents=latents, views=asked))

    def _announcer(self, tasks: Sequence[str]) -> Callable[[slice], None]:
        """What is done before some of the samples, whose tasks these are, are generated; nothing for one adapter."""
        return lambda part: None

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # the adapter alone
        """Trainable parameters only: checkpoints hold the adapter, never the frozen weights."""
        trainable = {name for name, p in self.named_parameters() if p.requires_grad}
        prefix = kwargs.get("prefix", "")
        return {k: v for k, v in super().state_dict(*args, **kwargs).items() if k.removeprefix(prefix) in trainable}

    def trained(self) -> Iterator[tuple[str, Manifest]]:
        """Each trained adapter in turn, as the denoiser's ordinary one: its sub-folder ("" here) and its manifest."""
        yield "", self.manifest()

    def manifest(self, data: Any = None) -> Manifest:
        """What the adapter is for, of one data module in a stack: stored beside exported weights."""
        data, backbone = data or self._datamodule, self.backbone
        num_frames, height, width = data.clip_shape
        return Manifest(
            backbone={
                "path": getattr(getattr(backbone, "checkpoint", None), "path", type(backbone).__name__),
                "family": type(backbone).__name__,
                "pipeline": backbone.pipeline_class.__name__,
                "pipeline_kwargs": dict(backbone.pipeline_kwargs),
                "lora_loader": backbone.lora_loader,
                "lora_kwargs": dict(backbone.lora_kwargs),
                "fingerprint": self._base,
            },
            codec={
                "name": type(data.codec).__name__,
                "version": data.codec.version,
                "spec": data.codec.spec(),
                "hash": data.codec.spec_hash,
            },
            clip={"num_frames": num_frames, "height": height, "width": width, "transition": data.transition},
            task=data.task_name,
            sampling=asdict(self.sampling),
            seed=run_seed(self.seed),
        )

    def identity(self) -> dict[str, Any]:
        """Base and codec that the adapter belongs to: what a checkpoint must agree in."""
        return {"base": self._base, "codec": self._datamodule.codec.spec_hash}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store which base and codec the adapter belongs to."""
        checkpoint["vdmfewshot"] = self.identity()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another base, codec, rank or set of modules.

        Raises:
            ValueError: naming the difference.
        """
        stored = checkpoint.get("vdmfewshot")
        if stored is None:
            raise ValueError("checkpoint was not written by vdmfewshot's FewShotModule")
        for name, ours in self.identity().items():
            if stored[name] != ours:
                raise ValueError(
                    f"checkpoint was trained with another {name} ({stored[name]}, here {ours}); use the configuration "
                    "saved beside it"
                )
        found, expected = checkpoint["state_dict"], self.state_dict()
        if found.keys() != expected.keys():
            difference = sorted(found.keys() ^ expected.keys())[:3]
            raise ValueError(f"checkpoint does not fit lora.targets: {difference} are on one side only")
        for name, tensor in expected.items():
            if found[name].shape != tensor.shape:
                raise ValueError(
                    f"checkpoint has another lora.rank: {name} is {tuple(found[name].shape)}, "
                    f"expected {tuple(tensor.shape)}"
                )
