"""Units in this process, stack after stack. It needs no Ray, and gives what Ray gives."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from vdmfewshot.studies.progress import Progress
from vdmfewshot.studies.settings import Executor
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Unit
from vdmfewshot.studies.work import Adapter, attempt

#: a stack hangs after so many medians of a unit, for each of its units, and not before so many seconds
PATIENCE, LEAST = 20.0, 300.0


def run_local(
    stacks: Sequence[Sequence[Unit]], adapter: Adapter, store: Store, progress: Progress, settings: Executor
) -> None:
    """Run stacks one after the other; those that another process is at come last, when most of them have a result.

    Args:
        stacks: of units without a result.
        adapter: runs them.
        store: of the results.
        progress: told of every outcome.
        settings: of the executor.
    """
    queue, postponed = list(stacks), set[int]()
    while queue:
        stack = queue.pop(0)
        if id(stack) not in postponed and set(store.running()) & {unit.id for unit in stack}:
            postponed.add(id(stack))
            queue.append(stack)
            continue
        done_by_others = [unit for unit in stack if store.done(unit.id)]
        progress.done.update(unit.id for unit in done_by_others)
        progress.running = len(stack) - len(done_by_others)
        progress.show()
        limit = patience(settings, progress.median_seconds(), len(stack))
        with store.claimed(unit.id for unit in stack), alarm(limit):
            outcomes = attempt(adapter, store, stack)
        progress.running = 0
        for outcome in outcomes:
            progress.add(outcome)
        progress.show()


def patience(settings: Executor, median: float | None, units: int) -> float:
    """Seconds after which a stack counts as hung; before anything is known, an hour a unit."""
    if settings.timeout is not None:
        return settings.timeout
    return max(LEAST, PATIENCE * median * units) if median is not None else 3600.0 * units


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise ``TimeoutError`` in what takes longer. It ends waiting and Python code, not a call that never returns."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)  # halves and single units get as long
        raise TimeoutError(f"nothing came of it within {seconds:.0f} s; raise executor.timeout if it needs longer")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
