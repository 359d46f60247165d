"""Cells of the table: adapt one method to one support set each and score it on the held-out queries."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.callbacks.references import BASELINES, CEILING, References
from vdmfewshot.callbacks.scorer import Scorer
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import picture_digest, safe_key
from vdmfewshot.data.stack import StackedDataModule
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.metrics.records import read_records, recompute
from vdmfewshot.storage.documents import read_json
from vdmfewshot.studies.evidence.scratch import FullFineTuneModule
from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.evidence.tasks import find_task
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sampling import SamplingArgs
from vdmfewshot.training.stacked_module import StackedModule
from vdmfewshot.training.trainer import FewShotTrainer

#: cells that train nothing: copy-input and mean-target of a support set, and the encoding ceiling of a task
BASELINE_CELL = "baselines"
REFERENCES = (BASELINE_CELL, CEILING)
#: of results; raise it when a cell of the same settings would come out differently
VERSION = 2
#: adapters that train side by side: more share more of the fixed costs, and need more memory
STACK = 16
#: of adapter or weights and of noise: the same in all cells, so that bands show support sets and nothing else
SEED = 0


@dataclass(frozen=True)
class Cell:
    """What one result is about.

    Attributes:
        task: name of the task.
        method: a ``Method``, or one of ``REFERENCES``.
        shots: n.
        seed: of the support set and its order.
    """

    task: str
    method: str
    shots: int
    seed: int

    @property
    def folder(self) -> str:
        """The task in file names."""
        return safe_key(self.task)

    @property
    def name(self) -> str:
        """For file names and messages."""
        return f"{self.method}-n{self.shots:02d}-s{self.seed}"


def make_data(cell: Cell, settings: Settings) -> FewShotDataModule:
    """The cell's support set and queries."""
    return find_task(cell.task).data(
        shots=cell.shots,
        support_seed=cell.seed,
        seed=cell.seed,
        height=settings.size,
        width=settings.size,
        num_frames=settings.num_frames,
        transition=settings.transition,
        batch_size=settings.batch_size,
        eval_batch_size=settings.queries,
        max_queries=settings.queries,
    )


def make_backbone(method: str, settings: Settings) -> CogVideoX:
    """The pretrained model, or the same architecture with a random denoiser."""
    init: Literal["random", "pretrained"] = "random" if method in ("random", "scratch") else "pretrained"
    return CogVideoX(settings.backbone, init=init, timestep_shift=settings.timestep_shift)


def make_module(method: str, settings: Settings, stacked: bool = False) -> FewShotModule:
    """The method: an adapter on frozen weights, one for each of several cells, or all weights from scratch."""
    full = method == "scratch"
    rate = settings.scratch_lr if full else settings.lr
    kind = FullFineTuneModule if full else StackedModule if stacked else FewShotModule
    return kind(
        make_backbone(method, settings),
        lora=LoraArgs(rank=settings.rank, alpha=settings.rank),
        optimizer=functools.partial(torch.optim.AdamW, lr=rate, weight_decay=0.0, fused=full),
        sampling=SamplingArgs(steps=settings.sampling_steps),
        cache_dir=str(Path(settings.out) / "latents"),
        seed=SEED,
    )


def make_stack(cells: Sequence[Cell], settings: Settings) -> StackedDataModule:
    """The support sets and queries of cells that one stack of adapters can learn."""
    members = [make_data(cell, settings) for cell in cells]
    for cell, data in zip(cells, members, strict=True):
        data.task_name = stacked_name(cell)
    return StackedDataModule(members, eval_batch_size=settings.queries)


def stacked_name(cell: Cell) -> str:
    """What a cell is called within a stack."""
    return f"{cell.folder}-s{cell.seed}"


def content_hash(data: FewShotDataModule) -> str:
    """Name of what a cell learns from and is asked: inputs and drawn targets of support set and queries."""
    data.setup()
    digest = hashlib.sha256(type(data.make_metric()).__name__.encode() + data.codec.spec_hash.encode())
    for pair in [*data.support, *data.queries("test")]:
        digest.update(f"{pair.key} {picture_digest(pair)}".encode())
        digest.update(data.codec.encode(pair.target, data.box(pair)).tobytes())
    return digest.hexdigest()[:16]


def cell_key(cell: Cell, settings: Settings, weights: str, content: str) -> str:
    """Name of a result: equal keys, equal results. It depends on nothing that the cell does not depend on."""
    relevant = {"size", "queries", "num_frames", "transition"}
    if cell.method not in REFERENCES:
        relevant |= {"steps", "batch_size", "timestep_shift", "sampling_steps", "precision"}
        relevant |= {"scratch_lr"} if cell.method == "scratch" else {"lr", "rank"}
    plain = {name: value for name, value in asdict(settings).items() if name in relevant}
    text = json.dumps([VERSION, asdict(cell), plain, weights, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stacks(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Neighbours that train side by side: adapters of one row of the table, method and n, at most ``STACK`` of them."""
    groups: list[list[Cell]] = []
    for (_, method, _), same in itertools.groupby(cells, lambda c: (find_task(c.task).row, c.method, c.shots)):
        size = 1 if method in (*REFERENCES, "scratch") else STACK
        rest = list(same)
        groups += [rest[i : i + size] for i in range(0, len(rest), size)]
    return groups


def run_cells(cells: Sequence[Cell], settings: Settings) -> list[dict[str, Any]]:
    """Measure cells: one, or several that ``stacks`` has put together, which come out as if alone, up to rounding.

    Returns:
        for each: ``scores`` by name (for references, by reference and name), ``records`` of every query, ``seconds``,
        and ``fit_seconds`` and ``test_seconds`` where something was trained; of a stack, the cell's share of them.
    """
    started = time.perf_counter()
    if cells[0].method in REFERENCES:
        results = [measure_references(cell, settings) for cell in cells]
    else:
        results = adapt_cells(cells, settings)
    seconds = (time.perf_counter() - started) / len(cells)
    return [{**result, "seconds": seconds} for result in results]


def adapt_cells(cells: Sequence[Cell], settings: Settings) -> list[dict[str, Any]]:
    """Train one method on the support sets through the ordinary trainer, and score every query.

    Raises:
        FloatingPointError: if the loss of a cell is not finite.
    """
    stacked = len(cells) > 1
    data = make_stack(cells, settings) if stacked else make_data(cells[0], settings)
    module = make_module(cells[0].method, settings, stacked)
    Path(settings.out).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.out, prefix=".cell-") as folder:
        make_trainer(Path(folder), settings).adapt(module, data)
        (scored,) = Path(folder).glob("scores/test/step=*")
        for reason in getattr(module, "failures", {}).values():
            raise FloatingPointError(reason)
        return [
            _collect(cell, scored / stacked_name(cell) if stacked else scored, len(cells), settings) for cell in cells
        ]


def _collect(cell: Cell, scored: Path, share: int, settings: Settings) -> dict[str, Any]:
    content = read_json(scored / "scores.json", "run again")
    if settings.frames:
        kept = Path(settings.out) / "frames" / cell.folder / cell.name
        shutil.copytree(scored / "frames", kept, dirs_exist_ok=True)
    rows = content["scores"]
    return {
        "scores": {name: row["score"] for name, row in rows.items()},
        "records": read_records(scored),
        "fit_seconds": content["fit_seconds"] / share,
        "test_seconds": rows[content["main"]]["seconds"] / share,
    }


def make_trainer(folder: Path, settings: Settings) -> FewShotTrainer:
    """A quiet trainer that writes nothing but scores."""
    return FewShotTrainer(
        accelerator=settings.accelerator,
        devices=1,
        precision=settings.precision,
        max_steps=settings.steps,
        gradient_clip_val=1.0,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=[Scorer(ceiling=False, baselines=False, save_images=settings.frames, show=False)],
    )


def measure_references(cell: Cell, settings: Settings) -> dict[str, Any]:
    """Copy-input and mean-target of a support set, or the encoding ceiling of a task."""
    data = make_data(cell, settings)
    data.setup()
    names = (CEILING,) if cell.method == CEILING else BASELINES
    backbone = make_backbone(cell.method, settings)
    if cell.method == CEILING:
        backbone.load()
    references = References(names)
    for batch in data.test_dataloader():
        references.add(batch, data, backbone, data.make_metric())
    records = references.gathered()
    return {"scores": {name: recompute(rows, data.make_metric()) for name, rows in records.items()}, "records": records}
