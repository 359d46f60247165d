"""The models that benchmarks run on: the embedded one, or random weights of a published size."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LightningArgumentParser
from safetensors.torch import save_file

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.backbones.checkpoint import EMBEDDED, Checkpoint
from vdmfewshot.training.module import FewShotModule

MODELS = Path(__file__).parents[1] / "experiments" / "model"
#: configuration files of published checkpoints, and the shapes of their prompts
PUBLISHED = Path(__file__).parent / "published"
#: (frames, height, width) of clips
SHAPES = {"tiny": (9, 96, 96), "true": (9, 480, 720)}


class RandomCheckpoint(Checkpoint):
    """A checkpoint whose weights are drawn, not read: as slow as the real ones, and no download."""

    def model(self, cls: Any, part: str, dtype: torch.dtype) -> Any:
        """An untrained model of the part's configuration."""
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        with torch.device(device or "cpu"):
            return cls.from_config(self.config(part)).to(dtype)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """``--backbone``, ``--size`` and ``--shape``."""
    parser.add_argument("--backbone", default="embedded", help="name or path of a YAML file in experiments/model")
    parser.add_argument("--size", choices=["tiny", "true"], default="tiny", help="embedded model, or random true size")
    parser.add_argument("--shape", type=int, nargs=3, metavar=("F", "H", "W"), help="of clips; default: by size")


def build(args: argparse.Namespace, **settings: Any) -> FewShotModule:
    """The module of a model file, ready on the accelerator if there is one.

    Args:
        args: of ``add_model_arguments``.
        settings: arguments of ``FewShotModule`` that override the file's.

    Raises:
        ValueError: if there are no weights or configurations of the wanted size.
    """
    args.shape = tuple(args.shape or SHAPES[args.size])
    file = Path(args.backbone) if Path(args.backbone).is_file() else MODELS / f"{args.backbone}.yaml"
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FewShotModule, "model", required=True)
    overrides = [f"--model.init_args.{name}={json.dumps(value)}" for name, value in settings.items()]
    module: FewShotModule = parser.instantiate_classes(parser.parse_args([f"--model={file}", *overrides])).model
    module.backbone.checkpoint = _checkpoint(module, file.stem, args.size)
    module.configure_model()
    return module.to(torch.accelerator.current_accelerator() or "cpu").train()


def _checkpoint(module: FewShotModule, name: str, size: str) -> Checkpoint:
    backbone = module.backbone
    if Path(backbone.checkpoint.path).is_dir():
        return backbone.checkpoint
    if size == "tiny" and type(backbone) is CogVideoX:
        return Checkpoint(EMBEDDED)
    if size == "true" and (PUBLISHED / name).is_dir():
        return RandomCheckpoint(str(_with_prompt(PUBLISHED / name)))
    known = ", ".join(sorted(folder.name for folder in PUBLISHED.iterdir()))
    raise ValueError(
        f"--size {size} needs a CogVideoX (tiny) or one of {known} (true), got {name}; or let path name a folder"
    )


def _with_prompt(published: Path) -> Path:
    """Configuration files beside a random prompt embedding."""
    folder = Path(tempfile.mkdtemp(prefix="vdmfewshot-")) / published.name
    shutil.copytree(published, folder)
    shapes: dict[str, list[int]] = json.loads((folder / "prompt.json").read_text())
    save_file({name: torch.randn(shape) for name, shape in shapes.items()}, folder / "prompt_embeds.safetensors")
    return folder
