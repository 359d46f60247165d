"""What the engine asks of whoever can run a configuration, and what it does if that fails."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Protocol

from vdmfewshot.storage.documents import read_json
from vdmfewshot.storage.errors import causes
from vdmfewshot.studies.settings import Study
from vdmfewshot.studies.stacks import halves
from vdmfewshot.studies.store import Failure, Store
from vdmfewshot.studies.units import Manifest, Unit

#: how often a unit that needs too much memory is tried with half the micro-batch
DIVISIONS = 3


class Adapter(Protocol):
    """Runs configurations; the command line passes one in, so that the engine knows nothing of it.

    Between calls it keeps what all units share, such as the frozen model.
    """

    def run(self, stack: Sequence[Unit], scratch: Path, divide: int) -> Mapping[str, Failure]:
        """Adapt and score units side by side, as if each were alone.

        Args:
            stack: units of one group.
            scratch: an empty folder; the result of each unit goes to its own folder in it, named by id.
            divide: by which the micro-batch is to be divided, with as many more of them a step.

        Returns:
            units that have failed on their own although the stack has not, and why.
        """

    def metric(self, unit: Unit) -> Any:
        """A fresh metric of the unit's task (``TaskMetric``)."""


class Planner(Protocol):
    """Turns settings into units; the command line passes one in."""

    def plan(self, study: Study) -> Manifest:
        """Resolve and check every point, read every task, and train nothing.

        Raises:
            ValueError: for settings that cannot be a study.
        """

    def show(self, study: Study) -> None:
        """Print the resolved configuration of the first point, and end the process."""


#: makes an adapter in the process that uses it: (folder of the study, what is kept of a unit, devices of a unit)
MakeAdapter = Callable[[Path, Sequence[str], int], Adapter]


@dataclass(frozen=True)
class Outcome:
    """What became of a unit.

    Attributes:
        unit: id.
        seconds: its share of the stack's.
        facts: of its result, ``None`` if it failed.
        failure: why, ``None`` if it did not.
    """

    unit: str
    seconds: float
    facts: Mapping[str, Any] | None = None
    failure: Failure | None = None


def attempt(adapter: Adapter, store: Store, stack: Sequence[Unit], number: int = 1, divide: int = 1) -> list[Outcome]:
    """Run units and publish what comes out: a result, or why there is none, for each of them.

    A stack that fails is halved, so that in the end a unit fails alone and costs no other its result. One that needs
    too much memory alone gets half the micro-batch.

    Args:
        adapter: runs them.
        store: of the results.
        stack: units of one group; those that have a result by now are left out.
        number: of this attempt, recorded with failures.
        divide: of the micro-batch.
    """
    stack = [unit for unit in stack if not store.done(unit.id)]
    if not stack:
        return []
    clock, scratch = Clock(len(stack)), store.scratch()
    try:
        failed = dict(adapter.run(stack, scratch, divide))
        share = clock.share()
        return [settle(store, unit, scratch / unit.id, share, number, failed.get(unit.id)) for unit in stack]
    except (Exception, SystemExit) as error:
        if told_to_stop(error):
            raise
        kind = kind_of(error)
        if kind != "oom" and "CUDA error" in str(error):
            raise  # this process can use the device no more, and the next units are not to blame
        failure = Failure(kind, reason_of(error), number, traceback.format_exc())
    finally:
        rmtree(scratch, ignore_errors=True)
    # Below the handler, because the traceback there holds the memory that the next try needs.
    if len(stack) > 1:
        return [outcome for half in halves(stack) for outcome in attempt(adapter, store, half, number, divide)]
    if kind == "oom" and divide < 2**DIVISIONS:
        return attempt(adapter, store, stack, number, 2 * divide)
    store.fail(stack[0].id, failure)
    return [Outcome(stack[0].id, clock.share()["seconds"], failure=failure)]


class Clock:
    """Wall and processor time since it was made, shared by some units.

    Args:
        units: how many.
    """

    def __init__(self, units: int) -> None:
        self.units = units
        self._wall, self._cpu = time.perf_counter(), sum(os.times()[:4])

    def share(self) -> dict[str, float]:
        """``seconds``, ``cpu_seconds`` (all threads and ended children) of one unit, and the ``share`` that it is."""
        wall, cpu = time.perf_counter() - self._wall, sum(os.times()[:4]) - self._cpu
        return {"seconds": wall / self.units, "cpu_seconds": cpu / self.units, "share": 1 / self.units}


def settle(
    store: Store,
    unit: Unit,
    draft: Path,
    share: Mapping[str, float],
    number: int,
    failure: Failure | None = None,
) -> Outcome:
    """Publish the draft of a unit, or record why there is none."""
    if failure is None and not draft.is_dir():
        failure = Failure("error", "the run ended without scores", number)
    if failure is not None:
        store.fail(unit.id, failure)
        return Outcome(unit.id, share["seconds"], failure=failure)
    facts = {**facts_of(draft), "task": unit.task, "point": unit.point, **share}
    facts["fit_seconds"] *= facts.pop("share")  # of the whole stack until then
    store.publish(unit.id, draft, facts)
    return Outcome(unit.id, share["seconds"], facts=store.facts(unit.id))


def facts_of(draft: Path) -> dict[str, Any]:
    """Name and value of the main score, from ``scores.json``."""
    content = read_json(draft / "scores.json", "run the unit again")
    row = content["scores"][content["main"]]
    return {
        "main": content["main"],
        "score": row["score"],
        "step": content["step"],
        "fit_seconds": content["fit_seconds"],
    }


def told_to_stop(error: BaseException) -> bool:
    """Whether a person or a scheduler ends the process: a unit that calls ``sys.exit`` ends itself alone."""
    if not isinstance(error, SystemExit):
        return False
    signalled = error.code in (128 + signal.SIGTERM, 128 + signal.SIGINT) or type(error) is not SystemExit
    return signalled or any(isinstance(cause, KeyboardInterrupt) for cause in causes(error))  # Lightning exits then


def kind_of(error: BaseException) -> str:
    """One word for why a unit failed."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"OutOfMemoryError", "MemoryError"} or "out of memory" in str(error).lower():
        return "oom"
    if "FloatingPointError" in names:
        return "nan"
    if "TimeoutError" in names:
        return "timeout"
    return "data" if names & {"DataError", "FileNotFoundError"} else "error"


def reason_of(error: BaseException) -> str:
    """The error in one line."""
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
