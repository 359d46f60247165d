"""The models that benchmarks run on: the embedded one, or random weights of a published size."""

from __future__ import annotations

import argparse
import atexit
import copy
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LightningArgumentParser
from safetensors.torch import save_file

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.backbones.base import Backbone
from vdmfewshot.backbones.checkpoint import EMBEDDED, Checkpoint, cast
from vdmfewshot.backbones.prompt import SHIPPED
from vdmfewshot.backbones.skeleton import skeleton
from vdmfewshot.training.module import FewShotModule

MODELS = Path(__file__).parents[1] / "experiments" / "model"
#: configuration files of published checkpoints, and what is changed in them for rehearsals
PUBLISHED = Path(__file__).parent / "published"
#: (frames, height, width) of clips
SHAPES = {"tiny": (9, 96, 96), "true": (9, 480, 720)}


class RandomCheckpoint(Checkpoint):
    """A checkpoint whose weights are drawn where they are used, not read: as slow as the real ones, and no download."""

    def model(self, cls: Any, part: str, dtype: torch.dtype) -> Any:
        """An untrained model of the part's configuration, of diffusers or transformers."""
        device, config = torch.accelerator.current_accelerator(), self.config(part)
        with torch.device(device if device and torch.accelerator.is_available() else "cpu"):
            if not hasattr(cls, "from_config"):
                return cls(cls.config_class.from_dict(config)).to(dtype)
            return cast(cls.from_config(config), dtype)


def random_checkpoint(backbone: Backbone, name: str, tiny: bool = False) -> RandomCheckpoint:
    """Published configurations beside a random prompt embedding, in a folder that goes with the process.

    Args:
        backbone: not loaded; its family knows the shapes of the prompt.
        name: a folder of ``published``.
        tiny: with the changes of its ``tiny.json``, for rehearsals.
    """
    root = Path(tempfile.mkdtemp(prefix="vdmfewshot-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    folder = root / name
    shutil.copytree(PUBLISHED / name, folder)
    changes: dict[str, dict[str, Any]] = json.loads((folder / "tiny.json").read_text()) if tiny else {}
    for part, settings in changes.items():
        file = folder / part / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    twin = copy.copy(backbone)
    twin.checkpoint = Checkpoint(str(folder))
    prompts = {n: t for n, t in skeleton(twin, 1)._buffers.items() if t is not None}
    tensors = {n: torch.ones(t.shape).to(t.dtype) if "mask" in n else torch.randn(t.shape) for n, t in prompts.items()}
    save_file(tensors, folder / SHIPPED)
    return RandomCheckpoint(str(folder))


def preset(file: Path, **settings: Any) -> FewShotModule:
    """The module of a model file, without weights; ``settings`` are arguments that override the file's."""
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FewShotModule, "model", required=True)
    overrides = [f"--model.init_args.{name}={json.dumps(value)}" for name, value in settings.items()]
    module: FewShotModule = parser.instantiate_classes(parser.parse_args([f"--model={file}", *overrides])).model
    return module


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
    module = preset(file, **settings)
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
        return random_checkpoint(backbone, name)
    known = ", ".join(sorted(folder.name for folder in PUBLISHED.iterdir() if folder.is_dir()))
    raise ValueError(
        f"--size {size} needs a CogVideoX (tiny) or one of {known} (true), got {name}; or let path name a folder"
    )
