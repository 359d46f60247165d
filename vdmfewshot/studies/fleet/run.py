"""``vdmfewshot fleet``: adapt and score more tasks than one stack holds, stack after stack, and pool their scores."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import time
import traceback
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vdmfewshot.callbacks.evaluation import run_folder
from vdmfewshot.callbacks.table import score_table
from vdmfewshot.callbacks.task_scores import Evaluated
from vdmfewshot.cli.command import main, make_cli
from vdmfewshot.metrics.records import recompute, to_json, write_atomically
from vdmfewshot.studies.evidence.clock import duration
from vdmfewshot.studies.fleet.plan import Fleet, Job, ResolvedCLI, plan

DESCRIPTION = """Adapts and scores all tasks of a stack's list, however many, as stacks of K, one after the other.

vdmfewshot fleet -c experiments/arc-fleet.yaml
vdmfewshot fleet -c experiments/arc-fleet.yaml --stack 32 --data.init_args.tasks='["ID", "ID", ...]'
vdmfewshot fleet -c experiments/arc-fleet.yaml --report_only true

All other options are those of `vdmfewshot adapt`. A second start does what is missing, and what failed, again."""
#: so many tasks that fail alone before any has succeeded are not the tasks' fault
HOPELESS = 3


def fleet(args: Sequence[str]) -> dict[str, Any]:
    """Run the verb.

    Args:
        args: command line after ``fleet``.

    Returns:
        What is in ``fleet.json``.

    Raises:
        ValueError: for what cannot be a fleet, before anything is trained; if nothing can be scored.
    """
    parser = argparse.ArgumentParser(
        "vdmfewshot fleet", description=DESCRIPTION, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--stack", type=int, default=16, metavar="K", help="tasks of a stack (default: 16)")
    parser.add_argument(
        "--report_only",
        nargs="?",
        const="true",
        default="false",
        type=str.lower,
        choices=("true", "false"),
        help="Adapt nothing",
    )
    options, rest = parser.parse_known_args(list(args))
    if options.stack < 1:
        raise ValueError(f"stack must be at least 1, got {options.stack}")
    for library in ("lightning.pytorch", "lightning.fabric", "diffusers"):
        logging.getLogger(library).setLevel(logging.ERROR)  # they greet every stack
    cli, console = make_cli(["adapt", *rest], ResolvedCLI), Console()
    planned = plan(cli)
    if options.report_only == "false":
        write_atomically(planned.home / "config.yaml", cli.text)
        Runner(planned, console).run(options.stack)
    return publish(planned, console)


class Runner:
    """Adapts the tasks without a result, in stacks.

    Args:
        fleet: all tasks.
        console: for progress.
    """

    def __init__(self, fleet: Fleet, console: Console) -> None:
        self.fleet = fleet
        self.console = console
        self.succeeded = self.failed = 0

    def run(self, size: int) -> None:
        """Run stacks of ``size`` tasks in the order of the list; a task that fails costs no other task its score.

        Raises:
            ValueError: if the first few tasks all fail on their own.
        """
        pending = [job for job in self.fleet.jobs if job.result() is None]
        for job in (job for job in pending if job.problem):
            self._fail(job, job.problem)
        pending = [job for job in pending if not job.problem]
        stacks = [pending[i : i + size] for i in range(0, len(pending), size)]
        self._say(f"{len(self.fleet.jobs)} tasks, {len(pending)} to go, in {len(stacks)} stacks of up to {size}")
        started, handled = time.perf_counter(), 0
        for number, stack in enumerate(stacks, start=1):
            self._attempt(stack)
            handled += len(stack)
            left = duration((time.perf_counter() - started) / handled * (len(pending) - handled))
            self._say(f"[stack {number}/{len(stacks)}] {self._so_far()}, {left} left")

    def _attempt(self, stack: Sequence[Job]) -> None:
        """Run a stack; if it fails, its halves, so that in the end a task fails alone."""
        failure = ""
        try:
            adapt(stack, self.fleet.home)
            self.succeeded += len(stack)
        except Exception:
            failure = traceback.format_exc()
        gc.collect()  # trainer and model refer to each other, and the next stack needs their memory
        if failure and len(stack) == 1:
            self._fail(stack[0], failure)
        elif failure:
            self._say(f"{stack_name(stack)} failed ({last_line(failure)}); its halves are tried on their own")
            for half in (stack[: len(stack) // 2], stack[len(stack) // 2 :]):
                self._attempt(half)

    def _fail(self, job: Job, failure: str) -> None:
        write_atomically(job.failure, failure)
        self._say(f"task {job.name} fails: {last_line(failure)}; see {job.failure}")
        self.failed += not job.problem
        if self.failed >= HOPELESS and not self.succeeded:
            raise ValueError(f"{self.failed} tasks have failed on their own and none has succeeded; see {job.failure}")

    def _so_far(self) -> str:
        results = self.fleet.results()
        if not results:
            return "no scores so far"
        found = Evaluated.pool({name: Evaluated.read(result["scores"]) for name, result in results.items()})
        main = self.fleet.metric.main
        score = recompute(found.records, self.fleet.metric, found.manifest)[main]
        return f"{main} {score:.3f} on the {len(results)} tasks so far"

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def stack_name(stack: Sequence[Job]) -> str:
    """``00576224+15``: its first task and the number of others."""
    return f"{stack[0].name}+{len(stack) - 1}"


def adapt(stack: Sequence[Job], home: Path) -> None:
    """One ordinary run of ``adapt``, in ``<home>/<name of the stack>``; then say where each task's scores are."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    tasks = json.dumps([job.id for job in stack])
    where = ["--trainer.default_root_dir", str(home), "--name", stack_name(stack)]
    cli = main(["adapt", "-c", str(home / "config.yaml"), f"--data.init_args.tasks={tasks}", *where])
    assert cli is not None
    scores = run_folder(cli.trainer) / "scores" / "test" / f"step={cli.trainer.global_step}"
    shares = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": cpu_seconds() - cpu}
    shares["fit_seconds"] = json.loads((scores / "scores.json").read_text(encoding="utf-8"))["fit_seconds"]
    for job in stack:
        place = os.path.relpath(scores / job.name, job.file.parent)
        head = {"task": job.id, "step": cli.trainer.global_step, "scores": place}
        write_atomically(job.file, to_json(head | {name: s / len(stack) for name, s in shares.items()}) + "\n")
        job.failure.unlink(missing_ok=True)
    cli.trainer.exit_if_terminated()  # type: ignore[attr-defined]


def cpu_seconds() -> float:
    """Of all threads of this process and of the children that have ended."""
    return sum(os.times()[:4])


# -- after ------------------------------------------------------------------------------------------------------------


def publish(fleet: Fleet, console: Console) -> dict[str, Any]:
    """Pool all tasks, write ``fleet.json`` and the pooled records, and print the table.

    Raises:
        ValueError: if no task has scores.
    """
    results = fleet.results()
    if not results:
        raise ValueError(f"none of {len(fleet.jobs)} tasks has scores with this configuration, in {fleet.home}")
    parts = {job.name: part(job, results) for job in fleet.jobs}
    whole, name = Evaluated.pool(parts), fleet.metric.main
    seconds = {key: sum(result[f"{key}_seconds"] for result in results.values()) for key in ("wall", "cpu", "fit")}
    rows = whole.rows(fleet.metric, seconds["wall"] - seconds["fit"])
    step = max(result["step"] for result in results.values())
    head = {"task": f"{len(fleet.jobs)} tasks", "main": name, "step": step, "fit_seconds": seconds["fit"]}
    whole.publish(fleet.home / "scores" / "test" / f"step={step}", head, rows)
    scores = {key: recompute(found.records, fleet.metric, found.manifest)[name] for key, found in parts.items()}
    content = {
        **{**head, "scores": rows, "configuration": fleet.home.name, "expected": len(fleet.jobs)},
        **{"wall_hours": seconds["wall"] / 3600, "cpu_hours": seconds["cpu"] / 3600},
        **{"solved": [key for key in results if scores[key] == 1], "tasks": {key: scores[key] for key in results}},
        "missing": {job.name: reason(job) for job in fleet.jobs if job.name not in results},
    }
    summary: dict[str, Any] = json.loads(to_json(content))
    write_atomically(fleet.folder / "fleet.json", json.dumps(summary, indent=2) + "\n")
    show(summary, console, fleet.folder / "fleet.json")
    return summary


def part(job: Job, results: Mapping[str, Mapping[str, Any]]) -> Evaluated:
    """What has been found of a task: without a result, nothing of what is expected."""
    if job.name not in results:
        return Evaluated([], job.manifest, {})
    return Evaluated.read(results[job.name]["scores"])


def reason(job: Job) -> str:
    """Why a task has no scores."""
    if job.problem or not job.failure.is_file():
        return last_line(job.problem) or "not yet run"
    return last_line(job.failure.read_text(encoding="utf-8"))


def last_line(text: str) -> str:
    """The last line of a traceback, which is the error."""
    return text.rstrip().rpartition("\n")[2].strip()


def show(summary: Mapping[str, Any], console: Console, file: Path) -> None:
    """Print the table, what it leaves out, what was solved, and what it cost."""
    scored, solved, missing = (summary[key] for key in ("tasks", "solved", "missing"))
    title = f"{len(scored)} of {summary['expected']} tasks, step {summary['step']}"
    console.print(score_table(title, summary["scores"], summary["main"]))
    lines = [f"{len(solved)} tasks solved: {' '.join(solved) or '-'}"]
    if missing:
        lines.append(
            f"{len(missing)} tasks have no scores and count as failures; ceiling and baselines are of the others"
        )
    lines.append(f"{summary['wall_hours']:.2f} h, {summary['cpu_hours']:.2f} CPU h; {file}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
