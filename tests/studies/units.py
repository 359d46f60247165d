"""Units that train nothing, for tests of the engine: what they do is in their ``data``. Importable by workers."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vdmfewshot.studies.settings import Study
from vdmfewshot.studies.store import Failure
from vdmfewshot.studies.units import Manifest, Unit, hashed

#: no test output anywhere: exactly what ArcMetric needs of a record
RECORD = {"attempts": 1, "size_right": True, "cell_accuracy": 1.0, "answers": [[[1]]], "failure": None}


class ScriptedAdapter:
    """Does what the units say: ``sleep``, ``fail``, ``crash`` the process, need ``memory``; notes what it was given.

    Args:
        folder: of the study.
        keep: nothing.
        devices: nothing.
    """

    def __init__(self, folder: Path, keep: Sequence[str] = (), devices: int = 1) -> None:
        self.log = folder / "log.jsonl"

    def run(self, stack: Sequence[Unit], scratch: Path, divide: int) -> Mapping[str, Failure]:
        with self.log.open("a") as stream:
            stream.write(json.dumps([[unit.task for unit in stack], divide, os.getpid()]) + "\n")
        needed = sum(unit.data.get("memory", 0) / divide for unit in stack)
        if needed > 8:
            raise MemoryError(f"{needed} of 8")
        for unit in stack:
            self._obey(unit)
        for unit in stack:
            write_result(scratch / unit.id, unit)
        return {unit.id: Failure("nan", "not finite") for unit in stack if unit.data.get("nan")}

    def _obey(self, unit: Unit) -> None:
        time.sleep(unit.data.get("sleep", 0))
        once = Path(unit.data["once"]) if "once" in unit.data else None
        if unit.data.get("fail"):
            raise ValueError(unit.data["fail"])
        if "exit" in unit.data:
            sys.exit(unit.data["exit"])
        if unit.data.get("crash") or (once is not None and not once.exists()):
            if once is not None:
                once.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def metric(self, unit: Unit) -> Any:
        from vdmfewshot.metrics.arc import ArcMetric  # torch, which no worker needs

        return ArcMetric()


def write_result(draft: Path, unit: Unit) -> None:
    draft.mkdir()
    record = {**RECORD, "key": unit.task, "task": unit.task, "rank": int(unit.data.get("score", 1)), "votes": [1]}
    (draft / "records.jsonl").write_text(json.dumps(record) + "\n")
    (draft / "manifest.jsonl").write_text(json.dumps(unit.expected[0]) + "\n")
    score = {"score": float(unit.data.get("score", 1))}
    content = {"main": "pass@2", "step": 1, "fit_seconds": 0.0, "scores": {"pass@2": score}}
    (draft / "scores.json").write_text(json.dumps(content))


class ScriptedPlanner:
    """Plans what ``study.tasks["script"]`` says: options of each task, under the names ``t0``, ``t1``, …"""

    planned = 0

    def plan(self, study: Study) -> Manifest:
        type(self).planned += 1
        script: Mapping[str, Any] = study.tasks["script"]
        units = [make_unit(name, point, data) for point in study.grid() for name, data in script.items()]
        return Manifest(units, study.digest())


def make_unit(name: str, point: Mapping[str, Any], data: Mapping[str, Any]) -> Unit:
    failed = {**RECORD, "key": name, "task": name, "rank": 0, "cell_accuracy": 0.0, "attempts": 0, "votes": []}
    group = "" if data.get("alone") else "g"
    problem = data.get("problem", "")
    return Unit(hashed(name, point), name, point, "", data, group, "pass@2", 1.0, [failed], problem)
