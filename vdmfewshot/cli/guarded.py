"""LightningCLI for configurations from elsewhere: what they must not do is refused before anything is made."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from vdmfewshot.callbacks.loggers import ResilientWandbLogger, refuse_local_settings
from vdmfewshot.cli.allowlist import check_arguments
from vdmfewshot.cli.destinations import FLAG, check_destinations, nodes
from vdmfewshot.training.checkpoint import refuse_code, usable


class GuardedCLI(LightningCLI):
    """``LightningCLI`` that tells what stands on the command line from what stands in its files."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the consent to write anywhere."""
        parser.add_argument(f"--{FLAG}", type=bool, default=False, help="Let files name folders outside of this one")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Remember the command line.

        Raises:
            ValueError: if a file is no text.
        """
        self._typed = sys.argv[1:] if args is None else args
        try:
            super().parse_arguments(parser, args)
        except UnicodeDecodeError as error:
            raise ValueError(f"a configuration must be UTF-8 text, got something else: {error}") from error

    def _parse_ckpt_path(self) -> None:
        """Refuse a missing, damaged or foreign checkpoint; nothing in one may override the configuration."""
        path = self._sub.get("ckpt_path")
        if path is not None:
            file = usable(Path(path))
            refuse_code(file)
            self._sub.ckpt_path = str(file)

    @property
    def _sub(self) -> Namespace:
        config: Namespace = self.config[self.config.subcommand]
        return config

    def before_instantiate_classes(self) -> None:
        """Check arguments and places; a program that passes a dictionary is trusted to write anywhere.

        Raises:
            ValueError: see ``check_arguments`` and ``check_destinations``.
        """
        config = self._sub.as_dict()
        check_arguments(config)
        if any(str(node.get("class_path", "")).endswith(ResilientWandbLogger.__name__) for node in nodes(config)):
            refuse_local_settings(Path(os.environ.get("WANDB_DIR", ".")))  # its constructor would say so in a traceback
        if isinstance(self._typed, list):
            check_destinations(config, self._typed)
        self._sub[FLAG] = False  # consent is given anew for every run: it is not kept in config.yaml
