"""What the engine of studies costs: ratios within one run, of units that sleep or do nothing."""

from __future__ import annotations

import io
import resource
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser
from statistics import median

from rich.console import Console

from benchmarks.busy import Busy
from benchmarks.harness import arguments, publish
from vdmfewshot.studies.engine import Engine
from vdmfewshot.studies.local import run_local
from vdmfewshot.studies.progress import Progress
from vdmfewshot.studies.settings import Executor, Study
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest, Unit, hashed

DESCRIPTION = "Ray with two workers, with one, and none, on the same small tasks; and many empty units."
EXPECTED = {"key": "k", "task": "t", "rank": 0, "cell_accuracy": 0.0, "size_right": False, "attempts": 0}


def parser() -> ArgumentParser:
    """Options of this script."""
    options = arguments(DESCRIPTION)
    options.add_argument("--tasks", type=int, default=60, help="small tasks for the comparison of executors")
    options.add_argument("--seconds", type=float, default=0.5, help="processor time of a small task")
    options.add_argument("--empty", type=int, default=10_000, help="empty units that are scheduled and recorded")
    options.add_argument("--planned", type=int, default=100_000, help="units of a manifest that is held in memory")
    return options


def units(count: int, seconds: float) -> list[Unit]:
    """Units that can all run side by side."""
    return [
        Unit(hashed(i), f"t{i}", {}, "c", {"seconds": seconds}, "g", "pass@2", 1.0, [EXPECTED]) for i in range(count)
    ]


def measure(manifest: Manifest, executor: Executor, stack: int) -> float:
    """Seconds of a study without planning and report, in a new folder."""
    with tempfile.TemporaryDirectory() as out:
        study = Study(("none.yaml",), out=out, stack=stack, executor=executor)
        engine = Engine(study, lambda: None, Busy, Console(file=io.StringIO()))  # type: ignore[arg-type,return-value]
        manifest.write(study.folder)
        progress = Progress(manifest, {}, [], engine.console)
        stacks = [manifest.units[i : i + stack] for i in range(0, len(manifest.units), stack)]
        start = time.perf_counter()
        if executor.kind == "local":
            run_local(stacks, Busy(study.folder), Store(study.folder), progress, executor)
        else:
            engine._execute(stacks, progress)
        seconds = time.perf_counter() - start
        assert len(progress.done) == len(manifest.units)
        shutil.rmtree(study.folder)
        return seconds


def executors(tasks: int, seconds: float, repeats: int) -> dict[str, float]:
    """Median seconds of the same units with two Ray workers, with one, and in this process; Ray is up already."""
    import ray

    manifest = Manifest(units(tasks, seconds), "x")
    cases = {"local": Executor(), "ray, 1 worker": Executor("ray", 1), "ray, 2 workers": Executor("ray", 2)}
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    try:
        measure(Manifest(units(4, 0.0), "x"), cases["ray, 2 workers"], 1)
        found: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(repeats):
            for name, executor in cases.items():
                found[name].append(measure(manifest, executor, 4))
    finally:
        ray.shutdown()
    return {name: median(values) for name, values in found.items()}


def main() -> None:
    """Measure, print, save."""
    options = parser().parse_args()
    seconds = executors(options.tasks, options.seconds, options.repeats)
    empty = measure(Manifest(units(options.empty, 0.0), "x"), Executor(), 16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    held = Manifest(units(options.planned, 0.0), "x")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    results = {
        **seconds,
        "two workers against one": seconds["ray, 1 worker"] / seconds["ray, 2 workers"],
        "one worker against none": seconds["ray, 1 worker"] / seconds["local"],
        f"{options.empty} empty units, s": empty,
        f"{len(held.units)} planned units, GB": grown / 1e9,
    }
    rows = [{"what": name, "value": value} for name, value in results.items()]
    publish("study", rows, options)


if __name__ == "__main__":
    main()
