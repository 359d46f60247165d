"""Scores along the way of trainings with the defaults: to 10 or 30 pairs; for masks; from other weights.

    python scripts/measure_lengths.py shots --out runs/lengths    # each appends to a file there and skips what it has
    python scripts/measure_lengths.py masks --out runs/lengths
    python scripts/measure_lengths.py kept --out runs/lengths --backbone runs/tasks    # families kept back, 5 pairs

No test picture of a sample and no query of the evidence has a say: queries are left-over pairs of the training part,
or, where pairs are generated, other ones.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import time
import warnings
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.callbacks.evaluation import decoder, score_clips
from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.evidence import find_task
from vdmfewshot.data.generated.data import EvidenceDataModule
from vdmfewshot.data.stack import StackedDataModule
from vdmfewshot.defaults import EMBEDDED, RATE
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.metrics.records import recompute
from vdmfewshot.training.sampling import SamplingArgs
from vdmfewshot.training.stacked_module import StackedModule
from vdmfewshot.training.trainer import FewShotTrainer

QUERIES = 16
VIEWS: dict[str, tuple[tuple[int, ...], ...]] = {"one": ((),), "four": ((), (-1,), (-2,), (-2, -1))}
"""Axes along which queries are mirrored before they are asked, and their answers after; the mean frame is read."""


@dataclass(frozen=True)
class Setting:
    """One training.

    Attributes:
        task: of the evidence.
        seed: of the support set.
        shots: its pairs.
        size: side of the frames in pixels.
        batch: clips a step.
        variants: versions of each pair.
        marks: steps after which it is scored.
        sampled: numbers of sampling steps.
        views: keys of ``VIEWS``.
    """

    task: str
    seed: int
    shots: int
    size: int = 64
    batch: int = 2
    variants: int = 1
    marks: tuple[int, ...] = (100, 200, 400)
    sampled: tuple[int, ...] = (1,)
    views: tuple[str, ...] = ("one",)

    @property
    def name(self) -> str:
        """Of a row."""
        return json.dumps({k: v for k, v in asdict(self).items() if k not in ("marks", "sampled", "views")})

    @property
    def key(self) -> str:
        """Of a member of a stack; begins with the task."""
        return f"{self.task}-n{self.shots}s{self.seed}"


SHOTS = [
    [Setting(task, seed, shots) for seed in (0, 1) for shots in (10, 30)]
    for task in ("invert", "objects_on_texture", "rule_110")
]
BOTH = ("one", "four")
MASKS = [
    [Setting(task, 1, 5, 96, 4, 4, (100, 200), (1, 4), BOTH) for task in ("nuclei", "person_masks")],
    [Setting(task, 1, 5, 96, 4, 16, (100, 200, 400), (1,), BOTH) for task in ("nuclei", "person_masks")],
]


UNSEEN = (("horizontal_flip", "invert"), ("nuclei", "objects_on_texture"), ("rule_110",))  # a stack has one codec
KEPT = [[Setting(task, seed, 5, marks=(50, 100, 200)) for task in tasks for seed in (0, 1, 2)] for tasks in UNSEEN]
PLANS = {"shots": SHOTS, "masks": MASKS, "kept": KEPT}


def make_data(setting: Setting) -> FewShotDataModule:
    """A support set and the queries it is judged by."""
    shape = {"height": setting.size, "width": setting.size, "num_frames": EMBEDDED.num_frames}
    data = find_task(setting.task).data(
        shots=setting.shots, support_seed=setting.seed, seed=setting.seed, transition=EMBEDDED.transition,
        batch_size=setting.batch, eval_batch_size=QUERIES, max_queries=QUERIES, variants=setting.variants, **shape,
    )  # fmt: skip
    load = data.load
    if isinstance(data, EvidenceDataModule):
        fresh = [data._example("query", 1, index) for index in range(QUERIES)]
        data.load = lambda: replace(load(), test=fresh)
    else:
        data.load = lambda: replace(load(), test=(), validate=(), predict=(), hold_out=True)
    data.task_name = setting.key
    return data


def asked(module: StackedModule, batch: ClipBatch, mirrors: tuple[tuple[int, ...], ...]) -> Tensor:
    """Mean over mirrored versions of the last frames, (B, 1, 1, 3, H, W)."""
    answers = []
    for axes in mirrors:
        generated = module.generate(replace(batch, frames=batch.frames.flip(axes))).generated
        assert generated is not None
        answers.append(generated[:, :, -1:].flip(axes))
    return torch.stack(answers).mean(0)


@torch.no_grad()
def scores(data: StackedDataModule, module: StackedModule, views: str) -> dict[str, float]:
    """The main score of every task."""
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for batch in data.test_dataloader():
        answered = replace(batch, generated=asked(module, batch, VIEWS[views]))
        for name, part in answered.by_task().items():
            metric, decode = data.tasks[name].make_metric(), decoder(data.tasks[name])
            for pair, clips in zip(part.pairs, part.generated, strict=True):
                records[name].append(score_clips(metric, decode, clips, pair))
    shown = {name: find_task(name.rpartition("-")[0]).scores[0] for name in records}
    return {name: recompute(rows, data.tasks[name].make_metric())[shown[name]] for name, rows in records.items()}


class Curve(Callback):
    """Scores all queries at the marks and writes a line a score."""

    def __init__(self, settings: list[Setting], file: Path) -> None:
        self.settings, self.file, self.started, self.scoring = settings, file, 0.0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.started = time.process_time()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Score at the marks; the time of that is no part of the training."""
        first = self.settings[0]
        if trainer.global_step not in first.marks:
            return
        begun = time.process_time()
        seconds = (begun - self.started - self.scoring) / len(self.settings)
        pl_module.eval()
        for steps in first.sampled:
            for views in first.views:
                pl_module.sampling = SamplingArgs(steps=steps, max_batch=QUERIES)
                found = scores(trainer.datamodule, pl_module, views)
                self._write({"trained": trainer.global_step, "sampled": steps, "views": views}, found, seconds)
        pl_module.train()
        self.scoring += time.process_time() - begun

    def _write(self, read: dict[str, Any], found: dict[str, float], seconds: float) -> None:
        with self.file.open("a") as stream:
            for setting in self.settings:
                score = found[setting.key]
                line = {"setting": setting.name, **read, "score": round(score, 4), "cpu_seconds": round(seconds, 1)}
                stream.write(json.dumps(line) + "\n")


def train(settings: list[Setting], file: Path, backbone: str = "embedded", precision: Any = "32-true") -> None:
    """Train adapters side by side, unless their last scores are there."""
    known = file.read_text() if file.is_file() else ""
    ends = {json.loads(line)["setting"] for line in known.splitlines()
            if json.loads(line)["trained"] == max(settings[0].marks)}  # fmt: skip
    if {setting.name for setting in settings} <= ends:
        return
    data = StackedDataModule([make_data(setting) for setting in settings], eval_batch_size=QUERIES)
    module = StackedModule(
        CogVideoX(backbone, timestep_shift=EMBEDDED.timestep_shift),
        lora=LoraArgs(rank=16, alpha=16),
        optimizer=functools.partial(torch.optim.AdamW, lr=RATE, weight_decay=0.0),
        seed=0,
    )
    trainer = FewShotTrainer(
        accelerator="cpu", precision=precision, max_steps=max(settings[0].marks), gradient_clip_val=1.0,
        callbacks=[Curve(settings, file)], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)


def main() -> None:
    """Train what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(PLANS))
    parser.add_argument("--backbone", default="embedded", help="or a folder that vdmfewshot.pretrain.export wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/lengths"))
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    args.out.mkdir(parents=True, exist_ok=True)
    for settings in PLANS[args.what]:
        train(settings, args.out / f"{args.what}-{Path(args.backbone).name}.jsonl", args.backbone, args.precision)


if __name__ == "__main__":
    main()
