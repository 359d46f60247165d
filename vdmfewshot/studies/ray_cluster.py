"""Units on Ray: warm workers on one machine or many, whose deaths and hangs cost a unit an attempt and no more.

Ray decides where workers live and notices when they die. What is done is on disk, see ``Store``; Ray is never asked.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vdmfewshot.studies.local import patience
from vdmfewshot.studies.progress import Progress
from vdmfewshot.studies.settings import Executor, Study
from vdmfewshot.studies.store import Failure, Store
from vdmfewshot.studies.units import Unit
from vdmfewshot.studies.work import MakeAdapter, Outcome, attempt

#: seconds after which it is said that no worker has started
LONELY = 30.0
#: workers that fail to start before any has: that is the set-up's fault
HOPELESS = 3


class Worker:
    """A Ray actor: runs stacks of units, and keeps the frozen model between them.

    Args:
        make_adapter: makes what runs units; imported here.
        study: settings.
        cwd: where the driver runs, so that relative paths mean the same; ignored where there is no such folder.
    """

    def __init__(self, make_adapter: MakeAdapter, study: Study, cwd: str) -> None:
        with suppress(OSError):
            os.chdir(cwd)
        settings = study.executor
        if settings.devices_per_unit > 1:  # Ray counts the threads of one process, and there will be one a device
            os.environ["OMP_NUM_THREADS"] = str(max(1, int(settings.num_cpus)))
        self.store = Store(study.folder)
        self.adapter = make_adapter(study.folder, study.keep, settings.devices_per_unit)

    def ready(self) -> None:
        """Answer when there is a worker."""

    def run(self, stack: Sequence[Unit], number: int) -> list[Outcome]:
        """Run units and publish their results; see ``attempt``."""
        with self.store.claimed(unit.id for unit in stack):
            return attempt(self.adapter, self.store, stack, number)


@dataclass
class Call:
    """What a worker has been asked.

    Attributes:
        worker: who.
        stack: units; none if it was asked whether it is ready.
        number: of the attempt.
        deadline: when it counts as hung.
        late: whether it was ended for that.
    """

    worker: Any
    stack: Sequence[Unit] = ()
    number: int = 1
    deadline: float = float("inf")
    late: bool = False


def run_on_ray(
    stacks: Sequence[Sequence[Unit]], study: Study, make_adapter: MakeAdapter, store: Store, progress: Progress
) -> None:
    """Run stacks on the workers of a Ray cluster: a running one, or one on this machine for the time being.

    Args:
        stacks: of units without a result, longest first.
        study: settings.
        make_adapter: makes what runs units, in each worker.
        store: of the results, on storage that all nodes share.
        progress: told of every outcome.

    Raises:
        ValueError: if Ray is missing or there is no such cluster, or no worker can be started.
    """
    ray, ours = connect(study.executor)
    try:
        Pool(ray, stacks, study, make_adapter, store, progress).run()
    finally:
        if ours:
            ray.shutdown()


def connect(settings: Executor) -> tuple[Any, bool]:
    """Ray itself, and whether the connection is ours to end."""
    try:
        import ray
    except ImportError as error:
        raise ValueError("executor.kind ray needs Ray: pip install 'vdmfewshot[ray]', or use kind local") from error
    if ray.is_initialized():
        return ray, False
    address, local = ray_address(settings), dict[str, Any]()
    if address == "local":
        needed = (settings.workers or 1) * settings.num_cpus * settings.devices_per_unit
        cpus = max(os.cpu_count() or 1, math.ceil(needed))
        local = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": 100 << 20}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(f"no Ray cluster at executor.address {address!r}: {error}") from error
    return ray, True


def ray_address(settings: Executor) -> str:
    """Of the cluster; without one Ray would join whatever cluster was last started on this machine."""
    return settings.address or os.environ.get("RAY_ADDRESS") or "local"


class Pool:
    """Workers and the stacks that wait for them.

    Args:
        ray: the module.
        stacks: in the order in which they are to start.
        study: settings.
        make_adapter: makes what runs units.
        store: of the results.
        progress: told of every outcome.
    """

    def __init__(
        self,
        ray: Any,
        stacks: Sequence[Sequence[Unit]],
        study: Study,
        make_adapter: MakeAdapter,
        store: Store,
        progress: Progress,
    ) -> None:
        self.ray, self.settings, self.store, self.progress = ray, study.executor, store, progress
        self.queue: deque[tuple[Sequence[Unit], int]] = deque((stack, 1) for stack in stacks)
        self.calls: dict[Any, Call] = {}
        self.unborn = 0
        count, cpus, gpus = self._size(len(stacks))
        # All that an actor asks for is on one node: several devices need no placement group.
        kind = ray.remote(Worker).options(num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=0)
        # Where there is no GPU to wait for, workers of one node come up side by side.
        self.workers = [kind.remote(make_adapter, study, str(Path.cwd())) for _ in range(count)]
        progress.workers = count

    def _size(self, stacks: int) -> tuple[int, float, float]:
        """Number of workers, and CPUs and GPUs of each."""
        settings, devices = self.settings, self.settings.devices_per_unit
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        gpus = settings.num_gpus if settings.num_gpus is not None else float(any(n.get("GPU", 0) for n in nodes))
        cpus, gpus = devices * settings.num_cpus, devices * gpus
        name, each = ("GPU", gpus) if gpus else ("CPU", cpus)
        room = sum(int(node.get(name, 0) / each) for node in nodes)
        if room == 0 and ray_address(settings) == "local":
            most = max(node.get(name, 0) for node in nodes)
            raise ValueError(f"a worker needs {each:g} {name}s, and this machine has {most:g}; see docs/studies.md")
        return max(1, min(settings.workers or room, stacks)), cpus, gpus

    def run(self) -> None:
        """Until every unit has a result or has failed."""
        for worker in self.workers:
            self._ask_ready(worker)
        heard = time.monotonic()
        while self.queue or any(call.stack for call in self.calls.values()):
            finished, _ = self.ray.wait(list(self.calls), timeout=1.0)
            for ref in finished:
                heard = time.monotonic()
                self._finish(ref)
            self._end_hangs()
            if not any(call.stack for call in self.calls.values()) and time.monotonic() - heard > LONELY:
                heard = time.monotonic()
                self.progress.say(f"waiting for a worker; the cluster has {self.ray.available_resources()}")
            self.progress.show()
        for worker in self.workers:
            self.ray.kill(worker)

    def _ask_ready(self, worker: Any) -> None:
        self.calls[worker.ready.remote()] = Call(worker)

    def _next(self, worker: Any) -> None:
        """Give a worker the first stack that still has something to do."""
        while self.queue:
            stack, number = self.queue.popleft()
            left = [unit for unit in stack if not self._settled(unit)]
            if left:
                limit = patience(self.settings, self.progress.median_seconds(), len(left))
                ref = worker.run.remote(left, number)
                self.calls[ref] = Call(worker, left, number, time.monotonic() + limit)
                break
        self.progress.running = sum(len(call.stack) for call in self.calls.values())

    def _settled(self, unit: Unit) -> bool:
        """Whether another attempt has published a result meanwhile; it is counted."""
        if unit.id in self.progress.done:
            return True
        facts = self.store.facts(unit.id)
        if facts is not None:
            self.progress.add(Outcome(unit.id, facts["seconds"], facts))
        return facts is not None

    def _finish(self, ref: Any) -> None:
        call = self.calls.pop(ref)
        try:
            outcomes = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            self._lost(call, error)
            return
        self.unborn = 0
        for outcome in outcomes or []:
            self.progress.add(outcome)
        for unit in call.stack:
            self._settled(unit)
        self._next(call.worker)

    def _lost(self, call: Call, error: Exception) -> None:
        """A worker is gone: its units are tried again, alone, until they have used up their attempts."""
        if not call.stack:
            self._stillborn(error)
        kind, reason = ("timeout", "nothing came of it in time") if call.late else ("crash", "the worker died")
        units = [unit for unit in call.stack if not self._settled(unit)]
        for unit in reversed(units):
            if call.number < self.settings.max_attempts:
                self.queue.appendleft(([unit], call.number + 1))
            else:
                failure = Failure(kind, f"{reason}: {first_line(error)}", call.number, str(error))
                self.store.fail(unit.id, failure)
                self.progress.add(Outcome(unit.id, 0.0, failure=failure))
        with suppress(self.ray.exceptions.RayError, ValueError):
            if isinstance(error, self.ray.exceptions.RayTaskError):
                self.ray.kill(call.worker, no_restart=False)  # it lives, but its device does not
        self._ask_ready(call.worker)

    def _stillborn(self, error: Exception) -> None:
        self.unborn += 1
        if self.unborn >= HOPELESS * len(self.workers) and not self.progress.seconds:
            raise ValueError(f"no worker can be started: {first_line(error)}")
        time.sleep(0.2)

    def _end_hangs(self) -> None:
        for call in self.calls.values():
            if not call.late and time.monotonic() > call.deadline:
                call.late = True
                self.progress.say(f"{call.stack[0].label} and {len(call.stack) - 1} others hang; their worker is ended")
                self.ray.kill(call.worker, no_restart=False)


def first_line(error: Exception) -> str:
    """What an error says first."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
