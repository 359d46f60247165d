"""Writes the trained adapter where diffusers and peft find it, and proves that it loads."""

from __future__ import annotations

from dataclasses import asdict

from lightning.pytorch import Callback, LightningModule, Trainer

from vdmfewshot.callbacks.evaluation import run_folder
from vdmfewshot.callbacks.mirror import log_adapter
from vdmfewshot.data.survey import say
from vdmfewshot.lora.comfyui import require_comfyui
from vdmfewshot.lora.export import save_adapter, verify_export
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sharding import is_sharded


class AdapterExport(Callback):
    """At the end of a fit, saves the adapter to ``<run>/adapter``, those of a stack to ``<run>/adapter/<task>``.

    Args:
        verify: reload it with stock diffusers and compare outputs; an export that differs stops the run with an error,
            after all adapters of a stack have been saved.
        comfyui: also save ``comfyui_lora.safetensors`` with the names that ComfyUI loads; ``--export comfyui`` sets it.
    """

    def __init__(self, verify: bool = True, comfyui: bool = False) -> None:
        self.verify = verify
        self.comfyui = comfyui

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a format that the model has not, before its weights are read.

        Raises:
            ValueError: naming the models that have it.
        """
        if self.comfyui and stage == "fit" and isinstance(pl_module, FewShotModule):
            require_comfyui(type(pl_module.backbone).__name__)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save on rank 0, and compare there too; where the frozen weights are shared out, all ranks must take part.

        Raises:
            ValueError: if outputs differ.
        """
        folder = run_folder(trainer) / "adapter"  # on all ranks: the path is broadcast
        if not isinstance(pl_module, FewShotModule):
            return
        backbone, problems = pl_module.backbone, []
        together = is_sharded(backbone.denoiser)
        for name, manifest in pl_module.trained():
            place, written = folder / name, manifest
            if trainer.is_global_zero:
                written = save_adapter(place, backbone.denoiser, backbone.pipeline_class, manifest, self.comfyui)
            if together:
                trainer.strategy.barrier()  # the files are there
            try:
                if self.verify and (together or trainer.is_global_zero):
                    difference = verify_export(place, backbone)
                    say(f"adapter saved to {place}; reloaded in diffusers, outputs differ by {difference:.1e}")
                if trainer.is_global_zero:
                    log_adapter(trainer.loggers, written.task, place, asdict(written))
            except ValueError as error:  # the other tasks of a stack are saved all the same
                problems.append(str(error))
        if problems:
            raise ValueError("; ".join(problems))
