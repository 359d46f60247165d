"""Latents before training on an accelerator: each clip is encoded once, then the encoders leave it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from vdmfewshot.clips.clip import Clip, collate
from vdmfewshot.data.stack import StackedLoader
from vdmfewshot.data.stream import StreamLoader
from vdmfewshot.data.survey import say
from vdmfewshot.training.module import FewShotModule

#: seconds between messages
PATIENCE = 10.0


def stream_loaders(loader: Any) -> list[StreamLoader]:
    """Our training loaders: one, or one per task of a stack; none for a loader that is not ours."""
    if isinstance(loader, StackedLoader):
        return list(loader.loaders.values())
    return [loader] if isinstance(loader, StreamLoader) else []


class EncodeAhead(Callback):
    """Encodes what the run will train on, augmented variants included, before its first step.

    On an accelerator VAE and image encoder wait in the machine's memory until they are needed: for validation and
    prediction. On a CPU, where there is no memory to be gained, a clip is encoded when a step first needs it, and the
    first step comes sooner. With ``cache_dir`` a second run reads all latents from disk.

    Args:
        always: on a CPU, too: all steps then take the same time.
    """

    def __init__(self, always: bool = False) -> None:
        self.always = always

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the cache; steps then take the same time, and memory has its peak in them."""
        if pl_module.device.type == "cpu" and not self.always:
            return
        loaders = stream_loaders(trainer.train_dataloader)
        if isinstance(pl_module, FewShotModule) and loaders:
            clips = [clip for loader in loaders for clip in self._ahead(trainer, loader)]
            started = told = time.monotonic()
            for done, clip in enumerate(clips):
                pl_module.latents(collate([clip]).to(pl_module.device))
                if time.monotonic() - told > PATIENCE:
                    told = time.monotonic()
                    say(f"encoded {done + 1} of {len(clips)} clips in {told - started:.0f} s")
            self._park(pl_module)

    def _ahead(self, trainer: Trainer, loader: StreamLoader) -> Iterator[Clip]:
        stream: Any = loader.dataset
        first, steps = loader.position(), trainer.max_steps - trainer.global_step
        samples = steps * trainer.accumulate_grad_batches * stream.batch_size * stream.world_size
        everything = len(stream.support) * stream.variants
        yield from stream.distinct(first, samples if trainer.max_steps > 0 else 2 * everything)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the encoders back."""
        self._fetch(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training goes on without them."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._park(pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the encoders back."""
        self._fetch(pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the encoders back."""
        self._fetch(pl_module)

    def _fetch(self, module: LightningModule) -> None:
        if isinstance(module, FewShotModule):
            module.backbone.move_encoders(module.device)

    def _park(self, module: LightningModule) -> None:
        if isinstance(module, FewShotModule):
            module.backbone.move_encoders("cpu")
