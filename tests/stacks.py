"""Builds tiny stacks of tasks for the tests: the same pictures, other pairs, shots and targets for each task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.tiny_training import make_data, make_module
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.stack import StackedDataModule
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.stacked_module import StackedModule

#: support sets of different sizes, so that the tasks' epochs end at different steps
SHOTS = {"mirror": 4, "turn": 2, "invert": 3}


def make_roots(folder: Path) -> dict[str, Path]:
    """Three folders of six 32 px pairs: mirror images, pictures upside down, and negatives."""
    rng = np.random.default_rng(1)
    change = {"mirror": lambda x: x[:, ::-1], "turn": lambda x: x[::-1], "invert": lambda x: 255 - x}
    for name in SHOTS:
        for i in range(6):
            image = np.kron(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
            for part, picture in (("input", image), ("target", change[name](image))):
                (folder / name / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(folder / name / part / f"p{i}.png")
    return {name: folder / name for name in SHOTS}


def task(roots: dict[str, Path], name: str, **kwargs: Any) -> FewShotDataModule:
    return make_data(roots[name], **{"shots": SHOTS[name], "seed": 3, **kwargs})


def stack_of(roots: dict[str, Path], *names: str, **kwargs: Any) -> StackedDataModule:
    return StackedDataModule([task(roots, name, **kwargs) for name in names or SHOTS])


def make_stack(checkpoint: Path, **kwargs: Any) -> StackedModule:
    """A ``StackedModule`` with the arguments of ``make_module``."""
    single: FewShotModule = make_module(checkpoint, **kwargs)
    names = ("backbone", "lora", "optimizer", "lr_scheduler", "sampling", "seed")
    adapter = None if single.adapter is None else str(single.adapter)
    return StackedModule(**{name: getattr(single, name) for name in names}, adapter=adapter)


def slices(module: StackedModule, name: str) -> dict[str, torch.Tensor]:
    """Trainable weights of one task by the names that they have in a module of its own."""
    index = list(module.trainer.datamodule.tasks).index(name)  # type: ignore[attr-defined]
    return {key: p.detach()[index].clone() for key, p in module.named_parameters() if p.requires_grad}
