"""Runs the units of studies: ordinary runs of ``adapt`` in one process, which keeps the frozen model between them."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning import seed_everything
from lightning.pytorch import Callback

from vdmfewshot.callbacks.export import AdapterExport
from vdmfewshot.callbacks.visuals import Visuals
from vdmfewshot.cli.planner import make, share
from vdmfewshot.cli.resolved import PLAIN, SILENT_CALLBACKS, STACKED, USEFUL, ResolvedCLI, resolve, silent
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.stack import StackedDataModule
from vdmfewshot.studies.store import PICTURES, Failure
from vdmfewshot.studies.units import Unit, hashed
from vdmfewshot.training.trainer import FewShotTrainer

#: callbacks that make what is kept only if a study asks for it
KEEPERS: dict[str, type[Callback]] = {"adapter": AdapterExport, "pictures": Visuals}


class CommandLineAdapter:
    """The adapter of ``vdmfewshot study``, see ``vdmfewshot.studies.work.Adapter``.

    Args:
        folder: of the study, with the configurations of its units.
        keep: what is kept of a unit beside its records.
        devices: of a unit; if there are several, every one of their processes makes such an adapter and runs the unit.
    """

    def __init__(self, folder: Path, keep: Sequence[str] = (), devices: int = 1) -> None:
        self.folder = folder
        self.keep = keep
        self.devices = devices
        self._parsed: dict[str, ResolvedCLI] = {}
        self._kinds: dict[str, type[Any]] = {}
        self._warm: tuple[str, Any] = ("", None)

    def run(self, stack: Sequence[Unit], scratch: Path, divide: int) -> Mapping[str, Failure]:
        """Adapt and score units side by side; see ``vdmfewshot.studies.work.Adapter``."""
        cli = self._configured(stack, scratch, divide)
        members = [self._data(unit, divide) for unit in stack]
        key = hashed(cli.chosen.model.init_args.backbone.as_dict(), cli.model.backbone.checkpoint.digest(), len(stack))
        if self._warm[0] == key and self._warm[1] is not None:
            cli.model.backbone = self._warm[1]
        self._warm = ("", None)  # until this stack has ended well
        with silent():
            data = side_by_side(members, stack) if len(stack) > 1 else members[0]
            assert isinstance(cli.trainer, FewShotTrainer), "make_cli asks for it"
            cli.trainer.adapt(cli.model, data)
        failed = getattr(cli.model, "failures", {})
        if cli.trainer.is_global_zero:
            collect(stack, scratch, self.keep)
            wait_for_others(cli.trainer)
        if bare(cli.model.backbone):
            self._warm = (key, cli.model.backbone)
        for name in ("model", "trainer", "datamodule", "config_init"):
            setattr(cli, name, None)
        gc.collect()  # trainer and model refer to each other, and the next stack needs their memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return {unit.id: Failure("nan", failed[unit.id]) for unit in stack if unit.id in failed}

    def metric(self, unit: Unit) -> Any:
        """A fresh metric of the unit's task."""
        data = self._data(unit, 1)
        data.setup()
        return data.make_metric()

    def _configured(self, stack: Sequence[Unit], scratch: Path, divide: int) -> ResolvedCLI:
        """Trainer and model for a stack, as a new process would make them."""
        cli = self._cli(stack[0].config)
        config = cli.config["adapt"]
        trainer = config.trainer
        trainer.logger, trainer.default_root_dir = False, str(scratch)
        trainer.enable_progress_bar, trainer.enable_checkpointing, trainer.enable_model_summary = False, False, False
        trainer.callbacks = self._callbacks(cli.chosen.trainer.callbacks or [], len(stack))
        trainer.devices = self.devices
        trainer.accumulate_grad_batches = self._share(stack[0])[1] * divide
        if config.model.class_path in (PLAIN, STACKED):
            config.model.class_path = STACKED if len(stack) > 1 else PLAIN
        seed = config.get("seed_everything")
        if seed is not False:
            seed_everything(0 if seed is True else seed, workers=True, verbose=False)
        with silent():
            cli.instantiate_classes()
        return cli

    def _callbacks(self, chosen: Sequence[Namespace], units: int) -> list[Namespace]:
        """Those of the configuration that so many units need, and those that make what is to be kept."""
        names = {name_of(callback) for callback in chosen}
        added = [kind for what, kind in KEEPERS.items() if what in self.keep and kind.__name__ not in names]
        paths = [f"{kind.__module__}.{kind.__qualname__}" for kind in added]
        found = [callback.clone() for callback in chosen]
        found += [Namespace(class_path=path, init_args=Namespace()) for path in paths]
        return [callback for callback in found if self._useful(callback, units)]

    def _useful(self, callback: Namespace, units: int) -> bool:
        """Whether units need a callback, which is told what it is to keep of them."""
        name = name_of(callback)
        if name == "Scorer":
            callback.init_args.save_images, callback.init_args.show = "frames" in self.keep, False
        if name == "Visuals":
            callback.init_args.max_samples = units * callback.init_args.get("max_samples", Visuals().max_samples)
        keeps = any(what in self.keep and kind.__name__ == name for what, kind in KEEPERS.items())
        return name not in SILENT_CALLBACKS or name in USEFUL or keeps

    def _cli(self, config: str) -> ResolvedCLI:
        if config not in self._parsed:
            file = self.folder / "configs" / f"{config}.yaml"  # where it writes was checked when the study was planned
            self._parsed[config] = resolve(["-c", str(file), "--write_outside=true"])
        return self._parsed[config]

    def _data(self, unit: Unit, divide: int) -> FewShotDataModule:
        cli = self._cli(unit.config)
        kind = type(cli.datamodule) if cli.datamodule is not None else self._kinds[unit.config]
        self._kinds[unit.config] = kind
        options = cli.options | dict(unit.data)
        batch = self._share(unit)[0]
        if divide > 1 and batch % divide:
            raise MemoryError(f"out of memory with a micro-batch of {batch}, which cannot be divided by {divide}")
        return make(kind, options | {"batch_size": batch // divide})

    def _share(self, unit: Unit) -> tuple[int, int]:
        cli = self._cli(unit.config)
        return share(cli, self.devices, unit.data.get("batch_size"))


def name_of(callback: Namespace) -> str:
    """Of the class of a callback in a configuration."""
    return str(callback.class_path.rpartition(".")[2])


def side_by_side(members: Sequence[FewShotDataModule], stack: Sequence[Unit]) -> StackedDataModule:
    """The data of several units; named by id once their keys are made, so that names may repeat."""
    for data, unit in zip(members, stack, strict=True):
        data.setup()
        data.task_name = unit.id
    return StackedDataModule(list(members), eval_batch_size=members[0].eval_batch_size)


def wait_for_others(trainer: Any) -> None:
    """On the first device: until the processes of the others, which it has started, have ended."""
    for process in getattr(trainer.strategy.launcher, "procs", ()):
        process.wait(timeout=60)


def collect(stack: Sequence[Unit], scratch: Path, keep: Sequence[str]) -> None:
    """Sort what a run has left into one folder a unit."""
    (scored,) = (scratch / "scores" / "test").glob("step=*")
    for unit in stack:
        source, place = (scored / unit.id if len(stack) > 1 else scored), scratch / unit.id
        source.rename(place)
        adapter = scratch / "adapter" / (unit.id if len(stack) > 1 else "")
        pictures = scratch / PICTURES / "test" / (unit.id if len(stack) > 1 else "") / scored.name
        if "pictures" in keep and pictures.is_dir():
            shutil.move(pictures, place / PICTURES)
        if "adapter" in keep and adapter.is_dir():
            shutil.move(adapter, place / "adapter")
        unit_file = {"task": unit.task, "point": unit.point, "config": unit.config, "data": unit.data}
        (place / "unit.json").write_text(json.dumps({**unit_file, "stack": len(stack)}, indent=1), encoding="utf-8")


def bare(backbone: Any) -> bool:
    """Take the adapter off; whether the frozen model is then as it was loaded, and may serve the next stack."""
    if any(p.requires_grad for name, p in backbone.denoiser.named_parameters() if ".lora_" not in name):
        return False  # it has been trained itself
    memory = backbone.memory
    if memory.quantization not in ("auto", "none") or memory.offload not in ("auto", "none"):
        return False
    backbone.denoiser.unload_lora()
    backbone.denoiser.requires_grad_(False)
    return True
