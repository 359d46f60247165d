"""Units on several devices: the processes of each start together, share the unit, and end together."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vdmfewshot.storage.documents import read_json
from vdmfewshot.studies.group import end_with_parent, own_environment, run_group
from vdmfewshot.studies.store import Failure
from vdmfewshot.studies.units import Unit
from vdmfewshot.studies.work import kind_of, reason_of

REQUEST, FAILURE, LOG = "request.json", "failure.json", "log.txt"
#: characters of what the processes printed that are kept of a failure
TAIL = 4000


class RanksAdapter:
    """Runs each unit in processes of its own, one a device, see ``vdmfewshot.studies.work.Adapter``.

    Lightning starts one process for each device from the first; between them runs what runs in a process of one
    device, so that nothing here knows how they share the work. Every unit loads the model again.

    Args:
        folder: of the study.
        keep: what is kept of a unit beside its records.
        devices: of a unit.
    """

    def __init__(self, folder: Path, keep: Sequence[str], devices: int) -> None:
        self.folder = folder
        self.keep = keep
        self.devices = devices

    def run(self, stack: Sequence[Unit], scratch: Path, divide: int) -> Mapping[str, Failure]:
        """Adapt and score one unit; see ``vdmfewshot.studies.work.Adapter``.

        Raises:
            MemoryError: if memory did not suffice, so that it is tried with a smaller micro-batch.
        """
        (unit,) = stack
        made = {"folder": str(self.folder), "keep": list(self.keep), "devices": self.devices}
        request = scratch / REQUEST
        request.write_text(json.dumps({"made": made, "unit": asdict(unit), "divide": divide}), encoding="utf-8")
        command = [sys.executable, "-m", __name__, str(request)]
        status = run_group(command, scratch / LOG, own_environment(os.environ))
        failure = failure_of(status, scratch)
        if failure is None:
            return {}
        if failure.kind == "oom":
            raise MemoryError(failure.reason)
        return {unit.id: failure}

    def metric(self, unit: Unit) -> Any:
        """A fresh metric of the unit's task."""
        from vdmfewshot.cli.runner import CommandLineAdapter  # torch

        return CommandLineAdapter(self.folder).metric(unit)


def failure_of(status: int, scratch: Path) -> Failure | None:
    """Why processes have not done what they were asked: what the first to fail says, else how it ended.

    Args:
        status: of the first process.
        scratch: where they ran.
    """
    if (scratch / FAILURE).is_file():
        return Failure(**read_json(scratch / FAILURE, "run the unit again"))
    if status == 0:
        return None
    how = f"was killed ({signal.Signals(-status).name})" if status < 0 else f"ended with status {status}"
    printed = (scratch / LOG).read_text(encoding="utf-8", errors="replace")
    return Failure("crash", f"a process of the unit {how}", details=printed[-TAIL:])


def work(request: Path) -> None:
    """In each of the processes: run the unit with the others.

    Args:
        request: file that ``RanksAdapter.run`` wrote.
    """
    end_with_parent()
    content, scratch = read_json(request, "run the unit again"), request.parent
    try:
        from vdmfewshot.cli.runner import CommandLineAdapter  # torch

        made = content["made"] | {"folder": Path(content["made"]["folder"])}
        CommandLineAdapter(**made).run([Unit(**content["unit"])], scratch, content["divide"])
    except BaseException as error:
        tell(scratch, Failure(kind_of(error), reason_of(error), details=traceback.format_exc()))
        os._exit(1)  # what an ordinary end would wait for may be waiting for this process


def tell(scratch: Path, failure: Failure) -> None:
    """Leave the reason, unless another process was first: then this one fails only because that one has."""
    try:
        with (scratch / FAILURE).open("x", encoding="utf-8") as stream:
            json.dump(vars(failure), stream)
    except FileExistsError:
        pass


if __name__ == "__main__":
    work(Path(sys.argv[1]))
