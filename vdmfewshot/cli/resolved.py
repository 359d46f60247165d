"""An ``adapt`` command line that is checked and instantiated, and runs nothing itself."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jsonargparse import Namespace
from torch import nn

from vdmfewshot.callbacks.config import dump
from vdmfewshot.cli.command import FewShotCLI, make_cli
from vdmfewshot.studies.units import hashed
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.quiet import quiet
from vdmfewshot.training.stacked_module import ELEMENTWISE, StackedModule

#: of a configuration, what no score depends on: where things lie, what is shown and kept; data are named by content
SILENT = (
    *("name", "config", "data", "write_outside", "model.init_args.cache_dir", "trainer.default_root_dir"),
    *("trainer.logger", "trainer.callbacks", "trainer.log_every_n_steps", "trainer.profiler", "trainer.devices"),
    *("trainer.enable_progress_bar", "trainer.enable_checkpointing", "trainer.enable_model_summary"),
)
#: callbacks that change no score
SILENT_CALLBACKS = (
    *("Progress", "CostReport", "EncodeAhead", "Visuals", "Predictions", "AdapterExport", "ModelCheckpoint"),
)
#: of them, those that a unit keeps: they decide about memory and speed
USEFUL = ("CostReport", "EncodeAhead")
#: of the other callbacks
SILENT_OPTIONS = ("save_images", "show")
PLAIN, STACKED = (f"{cls.__module__}.{cls.__qualname__}" for cls in (FewShotModule, StackedModule))


class ResolvedCLI(FewShotCLI):
    """An ``adapt`` command line, checked and instantiated, that runs nothing.

    Attributes:
        chosen: the configuration as the user has it, before what is chosen for this machine.
    """

    chosen: Namespace

    def before_instantiate_classes(self) -> None:
        """Keep the configuration as the user has it."""
        self.chosen = self._sub.clone(with_meta=False)
        self.save_config_callback = None
        super().before_instantiate_classes()

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing."""

    @property
    def options(self) -> dict[str, Any]:
        """Options of the data module."""
        args = self.chosen.data.get("init_args") or Namespace()
        return dict(args.as_dict())

    def key(self) -> str:
        """Name of everything but the data that scores depend on: settings by value, weights by content."""
        config = self.chosen.clone()
        callbacks = [c.as_dict() for c in config.trainer.callbacks or []]
        for name in SILENT:
            config.pop(name, None)
        if config.model.class_path == STACKED:
            config.model.class_path = PLAIN
        loud = [c for c in callbacks if c["class_path"].rpartition(".")[2] not in SILENT_CALLBACKS]
        for callback in loud:
            for name in SILENT_OPTIONS:
                callback.get("init_args", {}).pop(name, None)
        return hashed(config.as_dict(), loud, self.model.backbone.checkpoint.digest())

    def text(self, kind: type[Any], options: Mapping[str, Any]) -> str:
        """The configuration as YAML, with other data."""
        config = self.chosen.clone()
        for name in ("config", "name"):
            config.pop(name, None)
        content = config.as_dict()
        content["data"] = {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": dict(options)}
        return dump(content)

    @property
    def stackable(self) -> bool:
        """Whether adapters of this configuration may train side by side, see ``StackedModule.setup``."""
        if type(self.model) not in (FewShotModule, StackedModule) or self.model.adapter is not None:
            return False
        optimizer = self.model.optimizer([nn.Parameter(torch.zeros(1, 1, 1))])
        return isinstance(optimizer, ELEMENTWISE) and self.trainer.precision != "16-mixed"


def resolve(args: Sequence[str]) -> ResolvedCLI:
    """Check a command line after ``adapt`` and instantiate its classes; no weights are read."""
    with silent():
        return make_cli(["adapt", *args], ResolvedCLI)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Within, nobody greets: a study says how it goes, and its thousand runs do not."""
    loggers = [logging.getLogger(library) for library in ("lightning.pytorch", "lightning.fabric", "diffusers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), quiet():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
