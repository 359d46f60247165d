"""The comparison: measure every cell that has no result yet, then write the table and the figure."""

from __future__ import annotations

import functools
import logging
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from vdmfewshot.callbacks.references import CEILING
from vdmfewshot.studies.evidence.cells import (
    BASELINE_CELL,
    REFERENCES,
    Cell,
    cell_key,
    content_hash,
    make_backbone,
    make_data,
    run_cells,
    stacks,
)
from vdmfewshot.studies.evidence.clock import Clock, Run, trial_seconds
from vdmfewshot.studies.evidence.figure import write_figure
from vdmfewshot.studies.evidence.results import Job, finished
from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.evidence.shown import inputs, remember
from vdmfewshot.studies.evidence.summary import Summary, summarize
from vdmfewshot.studies.evidence.table import verdict, write_table
from vdmfewshot.studies.evidence.tasks import ARC, Task, choose_tasks, find_task
from vdmfewshot.studies.work import told_to_stop


def run_evidence(settings: Settings, measure: bool = True) -> Summary:
    """Measure what is missing, then write ``table.md``, ``table.csv``, ``table.json``, ``figure.png``, ``figure.svg``.

    Args:
        settings: what is compared.
        measure: ``False`` writes table and figure of the results that there are.

    Raises:
        ValueError: for an unknown task.
    """
    console, out = Console(), Path(settings.out)
    for library in ("lightning.pytorch", "diffusers"):
        logging.getLogger(library).setLevel(logging.ERROR)  # they greet every one of a thousand runs
    tasks = choose_tasks(settings.tasks)
    for task in (task for task in tasks if task.missing):
        console.print(f"{task.name} is left out: {task.missing}", markup=False)
    tasks = [task for task in tasks if not task.missing]
    jobs = plan(tasks, settings)
    if measure:
        measure_all(jobs, settings, console)
    before = inputs(settings)
    summary = summarize(tasks, settings, finished(jobs), len(jobs))
    write_table(summary, out)
    write_figure(summary, out)
    text = "\n".join([*verdict(summary), "", f"{out / 'table.md'}, {out / 'figure.png'}", ""])
    remember(settings, before, text)
    console.print(text, end="", markup=False, highlight=False, soft_wrap=True)
    return summary


def cells_of(task: Task, settings: Settings) -> Iterator[Cell]:
    """The cells of a task; those that differ in nothing but the seed follow each other."""
    shots, seeds = (settings.arc_shots, settings.arc_seeds) if task.row == ARC else (settings.shots, settings.seeds)
    yield Cell(task.name, CEILING, 1, 0)
    for n in shots:
        for method in (BASELINE_CELL, *settings.methods):
            yield from (Cell(task.name, method, n, seed) for seed in seeds)


def plan(tasks: Sequence[Task], settings: Settings) -> list[Job]:
    """All jobs, named by weights and content. It reads the weights and draws the data, and trains nothing."""
    jobs, contents = [], dict[tuple[str, int, int], str]()
    for cell in (cell for task in tasks for cell in cells_of(task, settings)):
        place = (cell.task, cell.shots, cell.seed)
        if place not in contents:
            contents[place] = content_hash(make_data(cell, settings))
        key = cell_key(cell, settings, weights(cell.method, settings.backbone), contents[place])
        jobs.append(Job.of(Path(settings.out), cell, key))
    return jobs


@functools.cache
def weights(method: str, path: str) -> str:
    """Fingerprint of the weights that a method starts from; nothing but the encoder for the ceiling."""
    if method == BASELINE_CELL:
        return ""
    backbone = make_backbone(method, replace(Settings(), backbone=path))
    backbone.load()
    return f"{'' if method == CEILING else backbone.fingerprint} {backbone.encoder_fingerprint}"


def measure_all(jobs: Sequence[Job], settings: Settings, console: Console, run: Run = run_cells) -> None:
    """Measure the jobs without a result. A cell that fails is reported and tried again next time.

    Args:
        jobs: of the plan.
        settings: of all of them.
        console: for progress.
        run: measures cells that train side by side.
    """
    pending = [job for job in jobs if not job.done]
    clock = Clock(finished(jobs))
    trained = [job.cell for job in pending if job.cell.method not in REFERENCES]
    if trained and not clock.knows(trained[0].method):
        clock.guess = trial_seconds(trained[0], settings, run)
    console.print(
        f"{len(jobs)} cells, {len(jobs) - len(pending)} done, about {clock.left(pending)} to go", markup=False
    )
    by_cell, number = {job.cell: job for job in pending}, 0
    for cells in stacks([job.cell for job in pending]):
        started = time.perf_counter()
        notes = attempt([by_cell[cell] for cell in cells], settings, run)
        for cell, note in zip(cells, notes, strict=True):
            number += 1
            clock.add(cell.method, (time.perf_counter() - started) / len(cells))
            place = f"[{number}/{len(pending)}] {cell.task} {cell.name}"
            console.print(f"{place}: {note}, {clock.left(pending[number:])} left", markup=False)


def attempt(jobs: Sequence[Job], settings: Settings, run: Run) -> list[str]:
    """Measure cells and save their results, or why there are none: one cell must not cost the night.

    Cells of a stack that fails are tried one by one.
    """
    try:
        results = run([job.cell for job in jobs], settings)
    except (Exception, SystemExit) as error:
        if told_to_stop(error):
            raise
        if len(jobs) > 1:
            return [note for job in jobs for note in attempt([job], settings, run)]
        (job,) = jobs
        job.failure.parent.mkdir(parents=True, exist_ok=True)
        job.failure.write_text(traceback.format_exc(), encoding="utf-8")
        return [f"failed, see {job.failure}: {type(error).__name__}: {error}"]
    for job, result in zip(jobs, results, strict=True):
        job.save(result)
    return [_note(job, result) for job, result in zip(jobs, results, strict=True)]


def _note(job: Job, result: dict[str, Any]) -> str:
    score = result["scores"].get(find_task(job.cell.task).scores[0])
    return "done" if score is None else f"{score:.3f} in {result['seconds']:.0f} s"
