"""The configuration of a run, kept in its folder."""

from __future__ import annotations

import re
from typing import Any

import yaml
from jsonargparse import set_dumper
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from vdmfewshot.callbacks.mirror import log_config


class QuotingDumper(yaml.SafeDumper):
    """Quotes strings that the command line, unlike YAML 1.1, reads as numbers, such as the ARC task ``20818e16``."""


QuotingDumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def dump(data: Any) -> str:
    """Configuration as YAML that the command line reads back as it was."""
    return yaml.dump(data, Dumper=QuotingDumper, default_flow_style=False, allow_unicode=True, sort_keys=False)


set_dumper("yaml", dump)


class SaveRunConfig(SaveConfigCallback):
    """Lightning's callback, which also tells the loggers; without any, and so without a folder, it saves nothing.

    Lightning would write ``config.yaml`` into the working folder, and refuse every later run there because it exists.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save, once, before anything is trained."""
        if trainer.loggers:
            super().setup(trainer, pl_module, stage)
            log_config(trainer.loggers, self.config.as_dict())
