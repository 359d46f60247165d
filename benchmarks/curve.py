"""Steps against score: adapters of several tasks and support sets, each tested with different sampling."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.models import MODELS
from vdmfewshot.cli import main

EXPERIMENTS = MODELS.parent
#: command lines of the tasks, whose main scores are shares of one
TASKS: dict[str, list[str]] = {
    "nuclei": ["-c", str(EXPERIMENTS / "nuclei.yaml")],
    "arc": ["-c", str(EXPERIMENTS / "arc.yaml")],
    "objects": [
        *("-c", str(EXPERIMENTS / "nuclei.yaml"), "--data", "EvidenceDataModule", "--data.task", "objects_on_texture"),
        *("--data.shots", "10", "--data.max_queries", "16"),
    ],
}
#: what a default may lose against as many unguided steps as were measured
TOLERANCE = 0.01

Row = dict[str, Any]


def curve(
    backbone: str, steps: Sequence[int], train_steps: int | None, seeds: Sequence[int], extra: Sequence[str] = ()
) -> list[Row]:
    """Score of every task with each number of unguided steps, and with 50 guided ones.

    Args:
        backbone: name of a YAML file in experiments/model.
        steps: numbers of denoising steps.
        train_steps: of each adapter; ``None`` for the experiment's own.
        seeds: of support set, adapter and noise.
        extra: further arguments of the command line.
    """
    limit = [] if train_steps is None else [f"--trainer.max_steps={train_steps}"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for task, seed in ((task, seed) for task in TASKS for seed in seeds):
            common = [*TASKS[task], f"--model={MODELS / backbone}.yaml", "--trainer.precision=32-true", *extra]
            common += [f"--trainer.default_root_dir={folder}", f"--seed_everything={seed}"]
            common += [f"--data.init_args.support_seed={seed}"]
            name, about = f"{task}-s{seed}", {"task": task, "seed": seed}
            main(["fit", *common, *limit, "--name", name, "--trainer.limit_val_batches=0"])
            adapter = f"--model.init_args.adapter={folder}/{name}/version_0/adapter"
            for n in steps:
                sampling = f"--model.init_args.sampling.steps={n}"
                rows.append({**about, **_test(Path(folder), name, [*common, adapter, sampling], f"{n} steps", n, 1.0)})
            paper = "--model.init_args.sampling.quality=paper"
            rows.append(
                {**about, **_test(Path(folder), name, [*common, adapter, paper], "50 steps, guidance 6", 50, 6.0)}
            )
    return rows


def _test(folder: Path, run: str, options: list[str], case: str, steps: int, guidance: float) -> Row:
    name = f"{run}-{steps}-{guidance}"
    main(["test", *options, "--name", name])
    (file,) = folder.glob(f"{name}/version_0/scores/test/step=*/scores.json")
    content = json.loads(file.read_text())
    score = content["scores"][content["main"]]
    setting = {"case": case, "steps": steps, "guidance": guidance}
    return {**setting, "metric": content["main"], **{key: score[key] for key in ("score", "low", "high", "n")}}


def means(rows: Sequence[Row], key: str = "score") -> dict[str, dict[int, float]]:
    """Mean over seeds by task and number of steps; where a row has no value of this key, its score counts."""
    values: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        value = row["score"] if row[key] is None else row[key]
        values.setdefault(row["task"], {}).setdefault(row["steps"], []).append(value)
    return {task: {n: statistics.fmean(v) for n, v in by_steps.items()} for task, by_steps in values.items()}


def choose(rows: Sequence[Row]) -> int | None:
    """The fewest unguided steps from which on no task's score, a mean over seeds, falls.

    In every task they and all larger numbers of steps must score within ``TOLERANCE`` of the largest number, and they
    not below the interval of 50 guided steps. ``None`` if no number does.
    """
    free, guided = ([r for r in rows if (r["guidance"] > 1) == paper] for paper in (False, True))
    scores, low = means(free), means(guided, "low")
    chosen = None
    for n in sorted({int(r["steps"]) for r in free}, reverse=True):
        if any(by_steps[n] < by_steps[max(by_steps)] - TOLERANCE for by_steps in scores.values()):
            break
        if any(by_steps[n] < low[task][50] for task, by_steps in scores.items()):
            break
        chosen = n
    return chosen
