"""Writes the trained adapter where diffusers and peft find it, and proves that it loads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from vdmfewshot.callbacks.evaluation import run_folder
from vdmfewshot.callbacks.mirror import log_adapter
from vdmfewshot.data.survey import say
from vdmfewshot.lora.export import save_adapter, verify_export
from vdmfewshot.training.module import FewShotModule


class AdapterExport(Callback):
    """At the end of a fit, saves the adapter to ``<run>/adapter``, those of a stack to ``<run>/adapter/<task>``.

    Args:
        verify: reload it with stock diffusers and compare outputs; an export that differs stops the run with an error,
            after all adapters of a stack have been saved.
    """

    def __init__(self, verify: bool = True) -> None:
        self.verify = verify

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save on rank 0, which holds the whole adapter under every replicating strategy."""
        folder = run_folder(trainer) / "adapter"  # on all ranks: the path is broadcast
        if isinstance(pl_module, FewShotModule):
            self._export(trainer, pl_module, folder)

    @rank_zero_only
    def _export(self, trainer: Trainer, module: FewShotModule, folder: Path) -> None:
        backbone, problems = module.backbone, []
        for name, manifest in module.trained():
            place = folder / name
            written = save_adapter(place, backbone.denoiser, backbone.pipeline_class, manifest)
            try:
                if self.verify:
                    difference = verify_export(place, backbone)
                    say(f"adapter saved to {place}; reloaded in diffusers, outputs differ by {difference:.1e}")
                log_adapter(trainer.loggers, written.task, place, asdict(written))
            except ValueError as error:  # the other tasks of a stack are saved all the same
                problems.append(str(error))
        if problems:
            raise ValueError("; ".join(problems))
