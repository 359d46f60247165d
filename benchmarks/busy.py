"""Units that compute for some seconds, for the benchmark of studies; importing it takes a worker no time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vdmfewshot.studies.store import Failure
from vdmfewshot.studies.units import Unit


class Busy:
    """Runs units that compute for some seconds, or do nothing, and leave a result of the usual form.

    Args:
        folder: of the study.
        keep: nothing.
    """

    def __init__(self, folder: Path, keep: Sequence[str] = ()) -> None:
        self.folder = folder

    def run(self, stack: Sequence[Unit], scratch: Path, divide: int) -> Mapping[str, Failure]:
        """Compute, then write what ``adapt`` would."""
        for unit in stack:
            until = time.process_time() + unit.data["seconds"]
            while time.process_time() < until:
                hash(unit.id)
            draft = scratch / unit.id
            draft.mkdir()
            content = {"main": "pass@2", "step": 1, "fit_seconds": 0.0, "scores": {"pass@2": {"score": 1.0}}}
            (draft / "scores.json").write_text(json.dumps(content))
        return {}

    def metric(self, unit: Unit) -> Any:
        """Nothing is summarized here."""
        raise NotImplementedError
