"""Steps against score: adapters of several tasks and support sets, each tested with different sampling."""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.models import MODELS
from vdmfewshot.cli.command import main
from vdmfewshot.training.sampling import QUALITY

EXPERIMENTS = MODELS.parent


def generated(task: str) -> list[str]:
    """Command line of a generated task, with ten pairs."""
    data = ("--data", "EvidenceDataModule", "--data.task", task, "--data.variants", "1", "--data.shots", "10")
    return ["-c", str(EXPERIMENTS / "nuclei.yaml"), *data]


#: score, a share of one that small changes move, and command line of each task
TASKS: dict[str, tuple[str, list[str]]] = {
    "nuclei": ("iou_dataset", ["-c", str(EXPERIMENTS / "nuclei.yaml")]),
    "objects": ("iou_dataset", generated("objects_on_texture")),
    "rule_110": ("cell_accuracy", generated("rule_110")),
}
#: what a default may lose against as many unguided steps as were measured
TOLERANCE = 0.01

Row = dict[str, Any]


def curve(
    backbone: str, steps: Sequence[int], train_steps: int | None, seeds: Sequence[int], extra: Sequence[str] = ()
) -> Iterator[list[Row]]:
    """Scores with each number of unguided steps, and with 50 guided ones: one list after another, by task and seed.

    Args:
        backbone: name of a YAML file in experiments/model.
        steps: numbers of denoising steps.
        train_steps: of each adapter; ``None`` for the experiment's own.
        seeds: of support set, adapter and noise.
        extra: further arguments of the command line.
    """
    limit = [] if train_steps is None else [f"--trainer.max_steps={train_steps}"]
    cases = {**{f"{n} steps": (n, 1.0) for n in steps}, "50 steps, guidance 6": QUALITY["paper"]}
    with tempfile.TemporaryDirectory() as folder:
        for (task, (metric, options)), seed in itertools.product(TASKS.items(), seeds):
            common = [*options, f"--model={MODELS / backbone}.yaml", "--trainer.precision=32-true", *extra]
            common += [f"--trainer.default_root_dir={folder}", f"--seed_everything={seed}"]
            common += [f"--data.init_args.support_seed={seed}"]
            name = f"{task}-s{seed}"
            main(["fit", *common, *limit, "--name", name, "--trainer.limit_val_batches=0"])
            adapter = f"--model.init_args.adapter={folder}/{name}/version_0/adapter"
            rows = []
            for case, (n, guidance) in cases.items():
                run, sampling = f"{name}-{n}-{guidance}", "--model.init_args.sampling"
                # Both said outright: what a model file sets would win against a quality.
                chosen = (f"{sampling}.steps={n}", f"{sampling}.guidance={guidance}")
                main(["test", *common, adapter, *chosen, "--name", run])
                (file,) = Path(folder).glob(f"{run}/version_0/scores/test/step=*/scores.json")
                score = json.loads(file.read_text())["scores"][metric]
                about = {"task": task, "seed": seed, "case": case, "steps": n, "guidance": guidance, "metric": metric}
                rows.append({**about, **{key: score[key] for key in ("score", "low", "high", "n")}})
            yield rows


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
