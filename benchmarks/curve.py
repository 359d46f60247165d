"""Steps against score: one adapter per task, tested with different sampling through the command line itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.models import MODELS
from vdmfewshot.cli import main

EXPERIMENTS = MODELS.parent
TASKS = ("nuclei", "arc")
#: what a default may lose against as many unguided steps as were measured
TOLERANCE = 0.01

Row = dict[str, Any]


def curve(backbone: str, steps: Sequence[int], train_steps: int | None) -> list[Row]:
    """Score of every task with each number of unguided steps, and with 50 guided ones.

    Args:
        backbone: name of a YAML file in experiments/model.
        steps: numbers of denoising steps.
        train_steps: of each adapter; ``None`` for the experiment's own.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for task in TASKS:
            common = ["-c", str(EXPERIMENTS / f"{task}.yaml"), f"--model={MODELS / backbone}.yaml"]
            common += ["--trainer.precision=32-true", f"--trainer.default_root_dir={folder}"]
            limit = [] if train_steps is None else [f"--trainer.max_steps={train_steps}"]
            main(["fit", *common, *limit, "--name", task, "--trainer.limit_val_batches=0"])
            adapter = f"--model.init_args.adapter={folder}/{task}/version_0/adapter"
            for n in steps:
                sampling = f"--model.init_args.sampling.steps={n}"
                rows.append(_test(Path(folder), task, [*common, adapter, sampling], f"{n} steps", n, 1.0))
            paper = "--model.init_args.sampling.quality=paper"
            rows.append(_test(Path(folder), task, [*common, adapter, paper], "50 steps, guidance 6", 50, 6.0))
    return rows


def _test(folder: Path, task: str, options: list[str], case: str, steps: int, guidance: float) -> Row:
    name = f"{task}-{steps}-{guidance}"
    main(["test", *options, "--name", name])
    (file,) = folder.glob(f"{name}/version_0/scores/test/step=*/scores.json")
    content = json.loads(file.read_text())
    score = content["scores"][content["main"]]
    setting = {"task": task, "case": case, "steps": steps, "guidance": guidance, "metric": content["main"]}
    return {**setting, **{key: score[key] for key in ("score", "low", "high", "n")}}


def choose(rows: Sequence[Row]) -> int | None:
    """The fewest unguided steps from which on no task's score falls.

    In every task they and all larger numbers of steps must score within ``TOLERANCE`` of the largest number, and they
    not below the interval of 50 guided steps. ``None`` if no number does.
    """
    free, guided = ([r for r in rows if (r["guidance"] > 1) == paper] for paper in (False, True))
    low = {r["task"]: r["low"] if r["low"] is not None else r["score"] for r in guided}
    end = {r["task"]: r["score"] for r in sorted(free, key=lambda r: int(r["steps"]))}
    chosen = None
    for n in sorted({int(r["steps"]) for r in free}, reverse=True):
        here = [r for r in free if r["steps"] == n]
        if any(r["score"] < end[r["task"]] - TOLERANCE or r["score"] < low[r["task"]] for r in here):
            break
        chosen = n
    return chosen
