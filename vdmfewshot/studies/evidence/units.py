"""The evidence as a study: task, method, shots and support set are its axes, and its results are those of the units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vdmfewshot.callbacks.references import BASELINES, CEILING
from vdmfewshot.data.evidence import ARC, Task
from vdmfewshot.storage.documents import read_json
from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.evidence.summary import BASELINE, Result
from vdmfewshot.studies.settings import Point, Study
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest, Unit

#: configuration of a unit, whose options the settings replace
BASE = "evidence-tasks"
MODEL, DATA = "model.init_args", "data.init_args"


def study_of(tasks: Sequence[Task], settings: Settings) -> Study:
    """The study whose units the table needs."""
    out = Path(settings.out)
    return Study(
        base=(BASE,),
        name=out.name,
        out=str(out.parent),
        set=shared(settings),
        choices={"method": methods(settings), "support_seed": support_seeds(settings)},
        points=list(points(tasks, settings)),
        executor=settings.executor,
        keep=("frames",) if settings.frames else (),
    )


def parts(tasks: Sequence[Task], settings: Settings) -> Iterator[tuple[list[str], list[int], list[int]]]:
    """(names, shots, support seeds) of the tasks that share them."""
    yield [task.name for task in tasks if task.row != ARC], settings.shots, settings.seeds
    yield [task.name for task in tasks if task.row == ARC], settings.arc_shots, settings.arc_seeds


def expected(tasks: Sequence[Task], settings: Settings) -> int:
    """Number of results when all units are done, see ``results_of``."""
    each = len(settings.methods) + 1
    return sum(len(names) * (len(shots) * len(seeds) * each + 1) for names, shots, seeds in parts(tasks, settings))


def points(tasks: Sequence[Task], settings: Settings) -> Iterator[Point]:
    """Every method, n and support set; those of ARC are apart, whose demonstrations are the support set."""
    for names, shots, seeds in parts(tasks, settings):
        for method, n, seed in ((m, n, s) for m in settings.methods for n in shots for s in seeds if names):
            yield {"tasks": names, "method": method, "shots": n, "support_seed": seed}


def shared(settings: Settings) -> dict[str, Any]:
    """What is the same for all units, by option of ``adapt``."""
    return {
        f"{MODEL}.backbone.init_args.path": settings.backbone,
        f"{MODEL}.backbone.init_args.timestep_shift": settings.timestep_shift,
        f"{MODEL}.lora.rank": settings.rank,
        f"{MODEL}.lora.alpha": settings.rank,
        f"{MODEL}.sampling.steps": settings.sampling_steps,
        f"{MODEL}.cache_dir": str(Path(settings.out) / "latents"),
        f"{DATA}.height": settings.size,
        f"{DATA}.width": settings.size,
        f"{DATA}.num_frames": settings.num_frames,
        f"{DATA}.transition": settings.transition,
        f"{DATA}.batch_size": settings.batch_size,
        f"{DATA}.eval_batch_size": settings.queries,
        f"{DATA}.max_queries": settings.queries,
        "trainer.max_steps": settings.steps,
        "trainer.precision": settings.precision,
        "trainer.accelerator": settings.accelerator,
    }


def methods(settings: Settings) -> dict[str, dict[str, Any]]:
    """What each method stands for: the weights it starts from, what is trained, and its rate."""
    weights, rate = f"{MODEL}.backbone.init_args.init", f"{MODEL}.optimizer.init_args.lr"
    scratch = {"model": "vdmfewshot.training.full.FullFineTuneModule", weights: "random", rate: settings.scratch_lr}
    return {
        "pretrained": {weights: "pretrained", rate: settings.lr},
        "random": {weights: "random", rate: settings.lr},
        "scratch": {**scratch, f"{MODEL}.optimizer.init_args.fused": True},
    }


def support_seeds(settings: Settings) -> dict[int, dict[str, Any]]:
    """A support seed is also the seed of the order of its clips."""
    seeds = [*settings.seeds, *settings.arc_seeds]
    return {seed: {f"{DATA}.support_seed": seed, f"{DATA}.seed": seed} for seed in seeds}


def results_of(manifest: Manifest, store: Store) -> list[Result]:
    """What has been measured.

    A unit has three results: its own, the trivial answers of its support set, and the ceiling of its task. The last two
    are the same for all units that share them, and count once.
    """
    found: dict[tuple[Any, ...], Result] = {}
    finished = store.finished(manifest.by_id)
    for unit in (unit for unit in manifest.units if unit.id in finished):
        rows = read_json(store.place(unit.id) / "scores.json", "delete its folder and run again")["scores"]
        own, trivial, ceiling = places(unit)
        found[own] = result(own, {name: row["score"] for name, row in rows.items()})
        found.setdefault(trivial, result(trivial, {ref: reference(rows, ref) for ref in BASELINES}))
        found.setdefault(ceiling, result(ceiling, {CEILING: reference(rows, CEILING)}))
    return list(found.values())


def places(unit: Unit) -> tuple[tuple[Any, ...], ...]:
    """(task, method, shots, seed) of a unit's result, of its trivial answers and of its ceiling."""
    shots, seed = unit.point["shots"], unit.point["support_seed"]
    return (
        (unit.task, unit.point["method"], shots, seed),
        (unit.task, BASELINE, shots, seed),
        (unit.task, CEILING, 1, 0),
    )


def result(place: tuple[Any, ...], scores: dict[str, Any]) -> Result:
    """A result as ``summarize`` takes them."""
    return {**dict(zip(("task", "method", "shots", "seed"), place, strict=True)), "scores": scores}


def reference(rows: dict[str, Any], name: str) -> dict[str, float]:
    """Scores of a reference."""
    return {score: row[name] for score, row in rows.items()}
