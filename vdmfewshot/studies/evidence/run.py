"""The comparison: a study is run as far as it is not yet done, then table and figure are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from vdmfewshot.data.evidence import Task, choose_tasks
from vdmfewshot.studies.engine import Engine
from vdmfewshot.studies.evidence.figure import write_figure
from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.evidence.shown import inputs, remember
from vdmfewshot.studies.evidence.summary import Summary, summarize
from vdmfewshot.studies.evidence.table import TABLE, read_table, verdict, write_table
from vdmfewshot.studies.evidence.units import expected, results_of, study_of
from vdmfewshot.studies.summary import publish_units
from vdmfewshot.studies.units import MANIFEST
from vdmfewshot.studies.work import MakeAdapter, Planner


def run_evidence(
    settings: Settings, make_planner: Callable[[], Planner], make_adapter: MakeAdapter, measure: bool = True
) -> Summary:
    """Measure what is missing, then write ``table.md``, ``table.csv``, ``table.json``, ``figure.png``, ``figure.svg``.

    Args:
        settings: what is compared.
        make_planner: as for ``Engine``.
        make_adapter: as for ``Engine``.
        measure: ``False`` writes table and figure of the results that there are; of the numbers of ``table.csv`` if
            that is all there is.

    Raises:
        ValueError: for an unknown task, or a damaged ``table.csv``.
        DataError: if no task can be read.
    """
    console, out = Console(), Path(settings.out)
    listed = choose_tasks(settings.tasks)
    engine = Engine(study_of(installed(listed), settings), make_planner, make_adapter, console)
    if measure:
        engine.complete(retry=[])
    before = inputs(settings)
    if not measure and (out / TABLE).is_file() and not (out / MANIFEST).is_file():
        summary = read_table(out / TABLE, listed, settings, expected(listed, settings))
    else:
        summary = measured(engine, listed, settings)
    write_table(summary, out)
    write_figure(summary, out)
    text = "\n".join([*verdict(summary), "", f"{out / 'table.md'}, {out / 'figure.png'}", ""])
    remember(settings, before, text)
    console.print(text, end="", markup=False, highlight=False, soft_wrap=True)
    return summary


def measured(engine: Engine, listed: Sequence[Task], settings: Settings) -> Summary:
    """The numbers of the study's results; tasks that need a package are left out, which is said."""
    for task in (task for task in listed if task.missing):
        engine.say(f"{task.name} is left out: {task.missing}")
    tasks, manifest = installed(listed), engine.manifest()
    publish_units(manifest, engine.store, engine.make_adapter(engine.study.folder, (), 1).metric)
    return summarize(tasks, settings, results_of(manifest, engine.store), expected(tasks, settings))


def installed(tasks: Sequence[Task]) -> list[Task]:
    """The tasks that can be drawn here."""
    return [task for task in tasks if not task.missing]
