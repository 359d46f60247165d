"""A stack of K tasks against the same K tasks one after another: tasks per hour, in one process, interleaved.

    python -m benchmarks.stack  # the embedded model, K = 1, 4, 16
    python -m benchmarks.stack --backbone cogvideox-1.5-5b --size true  # random weights, on a GPU

Both sides keep the frozen model loaded and their latents cached, take the same steps of the same tasks (ARC, batch 2
each), and then answer each task's queries. The adapters of both are compared: speed without equality is worth nothing.
Tasks whose boards are too large for the frames are passed over.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from benchmarks.harness import arguments, publish
from benchmarks.models import add_model_arguments, build
from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.data.arc_tasks import list_tasks
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.stack import StackedDataModule
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sampling import SamplingArgs
from vdmfewshot.training.stacked_module import StackedModule
from vdmfewshot.training.trainer import FewShotTrainer, native_precision

Adapters = dict[str, dict[str, torch.Tensor]]


@dataclass
class Run:
    """Seconds of one side, and the adapters by task."""

    fit: float
    predict: float
    adapters: Adapters


PHASES: dict[str, Callable[[Run], float]] = {
    "fit": lambda run: run.fit,
    "predict": lambda run: run.predict,
    "both": lambda run: run.fit + run.predict,
}


def parser() -> argparse.ArgumentParser:
    """Options of the script."""
    options = arguments(__doc__ or "")
    options.set_defaults(repeats=3)
    options.add_argument("--tasks", type=int, nargs="+", default=[1, 4, 16], help="K, sizes of stacks")
    options.add_argument("--steps", type=int, default=20, help="optimiser steps of every task")
    options.add_argument("--source", default="arcagi1", help="of the tasks; miniarc ships with the package")
    options.add_argument("--batch_size", type=int, default=2, help="samples of a task in a step")
    options.add_argument("--sampling_steps", type=int, default=10, help="denoising steps of a prediction")
    add_model_arguments(options)
    options.add_argument("--precision", default=native_precision("auto"), help="of Lightning")
    return options


class Bench:
    """One frozen model, loaded once, and the two ways of adapting it to many tasks."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.folder = folder
        self.backbone = build(args).backbone

    def tasks(self, count: int) -> list[ArcDataModule]:
        """The first training tasks of the source by id that fit the frames."""
        return list(itertools.islice(self._fitting(), count))

    def _fitting(self) -> Iterator[ArcDataModule]:
        frames, height, width = self.args.shape
        shape = {"num_frames": frames, "height": height, "width": width}
        for name in list_tasks(self.args.source, "training"):
            data = ArcDataModule(name, source=self.args.source, batch_size=self.args.batch_size, seed=0, **shape)
            try:
                data.setup()
            except (DataError, ValueError):
                continue
            yield data

    def module(self, cls: type[FewShotModule]) -> FewShotModule:
        """A fresh adapter on the loaded model."""
        if getattr(self.backbone.denoiser, "peft_config", None):
            self.backbone.denoiser.unload_lora()
        sampling = SamplingArgs(steps=self.args.sampling_steps)
        return cls(self.backbone, LoraArgs(), sampling=sampling, cache_dir=str(self.folder / "latents"), seed=0)

    def trainer(self) -> FewShotTrainer:
        """Without loggers and callbacks."""
        off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        return FewShotTrainer(
            accelerator="auto", devices=1, precision=self.args.precision, max_steps=self.args.steps,
            gradient_clip_val=1.0, num_sanity_val_steps=0, limit_val_batches=0, default_root_dir=self.folder,
            **dict.fromkeys(off, False),
        )  # fmt: skip

    def timed(self, module: FewShotModule, data: LightningDataModule) -> tuple[float, float]:
        """Seconds to fit and to answer the queries."""
        start = time.perf_counter()
        self.trainer().fit(module, datamodule=data)
        fitted = time.perf_counter()
        self.trainer().predict(module, datamodule=data, return_predictions=False)
        return fitted - start, time.perf_counter() - fitted

    def stacked(self, count: int) -> Run:
        """All tasks at once."""
        module, data = self.module(StackedModule), StackedDataModule(list(self.tasks(count)))
        fit, predict = self.timed(module, data)
        weights = {name: p.detach().cpu() for name, p in module.named_parameters() if p.requires_grad}
        adapters = {task: {name: p[i] for name, p in weights.items()} for i, task in enumerate(data.tasks)}
        return Run(fit, predict, adapters)

    def sequential(self, count: int) -> Run:
        """One task after another."""
        run = Run(0.0, 0.0, {})
        for data in self.tasks(count):
            module = self.module(FewShotModule)
            fit, predict = self.timed(module, data)
            weights = {name: p.detach().cpu().clone() for name, p in module.named_parameters() if p.requires_grad}
            run = Run(run.fit + fit, run.predict + predict, {**run.adapters, data.task_name: weights})
        return run


def compare(bench: Bench, count: int) -> list[dict[str, Any]]:
    """Rows for fit, predict and both: ratios sequential / stacked of interleaved repetitions."""
    pairs = [(bench.sequential(count), bench.stacked(count)) for _ in range(bench.args.repeats)]
    apart = max(difference(slow.adapters, fast.adapters) for slow, fast in pairs)
    rows = []
    for phase, seconds in PHASES.items():
        ratios = [seconds(slow) / seconds(fast) for slow, fast in pairs]
        slow, fast = (statistics.median(seconds(pair[side]) for pair in pairs) for side in (0, 1))
        spread = {"min": min(ratios), "times_faster": statistics.median(ratios), "max": max(ratios)}
        rows.append(
            {"tasks": count, "phase": phase, "one_by_one": slow, "stacked": fast, **spread, "difference": apart}
        )
    return rows


def difference(a: Adapters, b: Adapters) -> float:
    """Largest absolute difference of any weight of any task."""
    return max(float((a[task][name] - b[task][name]).abs().max()) for task in a for name in a[task])


def main() -> None:
    """Measure, print and write."""
    args = parser().parse_args()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        bench.stacked(max(args.tasks))  # fills the latent cache and warms up, for both sides
        rows = [row for count in args.tasks for row in compare(bench, count)]
    settings = {name: value for name, value in vars(args).items() if name != "output"}
    publish("stack", rows, args, settings=settings)


if __name__ == "__main__":
    main()
