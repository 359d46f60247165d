"""Measures what the package's defaults should be, on small tasks of every kind and three support sets.

    python scripts/measure_defaults.py --out runs/defaults     # appends to results.jsonl, skips what is there

Training settings are candidates; numbers of training and sampling steps are read off along the way of each training,
whose rate is constant. Queries are left-over pairs of the *training* part: no test picture of a sample has a say.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import logging
import time
import warnings
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import LinearLR

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.callbacks.evaluation import decoder, score_clips
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.evidence import find_task
from vdmfewshot.data.stack import StackedDataModule
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.metrics.records import recompute
from vdmfewshot.training.sampling import SamplingArgs
from vdmfewshot.training.stacked_module import StackedModule
from vdmfewshot.training.trainer import FewShotTrainer

SHOTS, QUERIES = 5, 6
KINDS = {
    "pictures": ("zoom", "denoise"),
    "masks": ("nuclei", "person_masks"),
    "boards": ("rule_110",),
    "poses": ("people",),
}
MODES = {"9 frames": (9, "discrete"), "one frame": (5, "immediate")}
SAMPLED = (1, 4, 10)
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Candidate:
    """What a training is about; everything else is read off along its way."""

    mode: str
    shift: float
    rate: float
    size: int = 64
    batch: int = 2
    radius: float = 0.04
    decay: bool = False
    emphasis: float = 0.0


#: of the discs of a pose, the only choice that a codec leaves at this size
RADII = (0.08, 0.12)

SCREENED = [
    *(Candidate("one frame", 4.0, rate) for rate in (2e-3, 4e-3, 8e-3)),
    Candidate("one frame", 1.0, 4e-3),
    Candidate("9 frames", 4.0, 4e-3),
]
#: what the package does for all but joints, which have large discs and weight, too
DEFAULT = SCREENED[1]


def make_data(task: str, seed: int, candidate: Candidate) -> FewShotDataModule:
    """Five pairs of the training part and, as queries, others of the same part."""
    frames, transition = MODES[candidate.mode]
    data = find_task(task).data(
        shots=SHOTS,
        support_seed=seed,
        seed=seed,
        num_frames=frames,
        transition=transition,
        height=candidate.size,
        width=candidate.size,
        batch_size=candidate.batch,
        eval_batch_size=QUERIES,
        max_queries=QUERIES,
        **({"radius": candidate.radius} if task == "people" else {}),
    )
    load = data.load
    data.load = lambda: replace(load(), test=(), validate=(), predict=(), hold_out=True)
    data.task_name = f"{task}-s{seed}"
    return data


class Curve(Callback):
    """Scores all queries at some steps of the training, with several numbers of sampling steps."""

    def __init__(self, marks: tuple[int, ...], sampled: tuple[int, ...]) -> None:
        self.marks, self.sampled = marks, sampled
        self.rows: list[dict[str, Any]] = []
        self.started = self.scoring = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.started = time.process_time()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Score at the marks; the time of that is no part of the training."""
        if trainer.global_step not in self.marks:
            return
        begun = time.process_time()
        seconds = begun - self.started - self.scoring
        pl_module.eval()
        for steps in self.sampled:
            pl_module.sampling = SamplingArgs(steps=steps, max_batch=QUERIES)
            for task, score in scores(trainer.datamodule, pl_module).items():
                row = {"task": task, "trained": trainer.global_step, "sampled": steps, "score": score}
                self.rows.append(row | {"seconds": seconds / len(trainer.datamodule.tasks)})
        pl_module.train()
        self.scoring += time.process_time() - begun


@torch.no_grad()
def scores(data: StackedDataModule, module: StackedModule) -> dict[str, float]:
    """The main score of every task."""
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for batch in data.test_dataloader():
        for name, part in module.generate(batch).by_task().items():
            metric, decode = data.tasks[name].make_metric(), decoder(data.tasks[name])
            for pair, clips in zip(part.pairs, part.generated, strict=True):
                records[name].append(score_clips(metric, decode, clips, pair))
    shown = {name: find_task(name.rpartition("-")[0]).scores[0] for name in records}
    return {name: recompute(rows, data.tasks[name].make_metric())[shown[name]] for name, rows in records.items()}


def train(kind: str, candidate: Candidate, seeds: tuple[int, ...], marks: tuple[int, ...]) -> list[dict[str, Any]]:
    """Train the adapters of all tasks and support sets of a kind side by side."""
    members = [make_data(task, seed, candidate) for task in KINDS[kind] for seed in seeds]
    data = StackedDataModule(members, eval_batch_size=QUERIES)
    module = StackedModule(
        CogVideoX("embedded", timestep_shift=candidate.shift),
        lora=LoraArgs(rank=16, alpha=16),
        optimizer=functools.partial(torch.optim.AdamW, lr=candidate.rate, weight_decay=0.0),
        lr_scheduler=functools.partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=max(marks))
        if candidate.decay
        else None,
        seed=0,
        emphasis=candidate.emphasis,
    )
    curve = Curve(marks, SAMPLED)
    trainer = FewShotTrainer(
        accelerator="cpu", precision="32-true", max_steps=max(marks), gradient_clip_val=1.0, callbacks=[curve],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return curve.rows


def name_of(row: dict[str, Any]) -> Candidate:
    """The candidate that a row is about."""
    return Candidate(**{name: row[name] for name in Candidate.__annotations__ if name in row})


def read(out: Path) -> list[dict[str, Any]]:
    """All rows."""
    file = out / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def measure(out: Path, kind: str, candidate: Candidate, seeds: tuple[int, ...], marks: tuple[int, ...]) -> None:
    """Append what is not there yet."""
    known = {(row["task"], row["trained"]) for row in read(out) if name_of(row) == candidate}
    if {(f"{task}-s{seed}", mark) for task in KINDS[kind] for seed in seeds for mark in marks} <= known:
        return
    rows = [{"kind": kind, **asdict(candidate), **row} for row in train(kind, candidate, seeds, marks)]
    fresh = [row for row in rows if (row["task"], row["trained"]) not in known]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "results.jsonl").open("a") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in fresh)


def value(rows: list[dict[str, Any]], candidate: Candidate, kind: str, seeds: tuple[int, ...], mark: int) -> float:
    """Mean score of a kind, with the number of sampling steps that suits it."""
    tasks = {f"{task}-s{seed}" for task in KINDS[kind] for seed in seeds}
    own = [r for r in rows if name_of(r) == candidate and r["trained"] == mark and r["task"] in tasks]
    return max(float(np.mean([r["score"] for r in own if r["sampled"] == steps])) for steps in SAMPLED)


def rank(rows: list[dict[str, Any]], candidates: list[Candidate], mark: int) -> None:
    """Print the candidates in order of their mean rank over kinds."""
    table = np.array([[value(rows, c, kind, SEEDS, mark) for kind in KINDS] for c in candidates])
    ranks = (table[:, None] < table[None]).sum(1) + (table[:, None] == table[None]).sum(1) / 2
    for i in np.argsort(ranks.mean(1), kind="stable"):
        print(candidates[i], np.round(table[i], 3).tolist(), f"mean rank {ranks[i].mean():.2f}", flush=True)


def main() -> None:
    """Run all rounds; each begins where it was stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/defaults"))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for candidate, kind in itertools.product(SCREENED, KINDS):
        measure(out, kind, candidate, SEEDS, (60, 100, 200))
    rank(read(out), SCREENED, 200)
    for kind in KINDS:
        measure(out, kind, DEFAULT, SEEDS, (200, 400))
        measure(out, kind, replace(DEFAULT, decay=True), SEEDS, (200,))
    for kind in ("masks", "boards"):
        measure(out, kind, replace(DEFAULT, emphasis=9.0), SEEDS, (200,))
    measure(out, "poses", replace(DEFAULT, radius=RADII[0]), SEEDS, (200, 400, 800))
    measure(out, "poses", replace(DEFAULT, radius=RADII[1]), SEEDS, (200,))
    measure(out, "poses", replace(DEFAULT, radius=RADII[0], emphasis=9.0), SEEDS, (200, 400))


if __name__ == "__main__":
    main()
