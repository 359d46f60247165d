"""How far a study is: counted once from disk, then kept up to date by outcomes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from statistics import fmean, median
from typing import Any, Protocol

from rich.console import Console

from vdmfewshot.studies.store import Failure
from vdmfewshot.studies.units import Manifest
from vdmfewshot.studies.work import Outcome

#: seconds between two lines that say only how far the study is
PAUSE = 5.0
#: units that fail for the same reason before any has a result
HOPELESS = 5


class Listener(Protocol):
    """Hears of every outcome; W&B is one."""

    def heard(self, outcome: Outcome, progress: Progress) -> None:
        """Take note."""


class Progress:
    """Counts, expected end and scores so far.

    Args:
        manifest: all units.
        finished: facts of the results that there are.
        failed: units that have failed.
        console: for a line every few seconds.
        listeners: to be told of every outcome.
    """

    def __init__(
        self,
        manifest: Manifest,
        finished: Mapping[str, Mapping[str, Any]],
        failed: Iterable[str],
        console: Console,
        listeners: Iterable[Listener] = (),
    ) -> None:
        self.manifest = manifest
        self.console = console
        self.listeners = list(listeners)
        self.running, self.workers = 0, 1
        self.scores = {unit: score for unit, facts in finished.items() if (score := facts["score"]) is not None}
        self.done, self.failed = set(finished), set(failed) - set(finished)
        self.seconds: list[float] = []
        self._reasons: list[str] = []
        self._said, self._line = 0.0, ""

    @property
    def total(self) -> int:
        """Units of the study."""
        return len(self.manifest.units)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome; say at once why a unit failed."""
        unit = self.manifest.by_id[outcome.unit]
        if outcome.failure is not None:
            self.failed.add(unit.id)
            self._lose_hope(outcome.failure)
            attempts = f" after {outcome.failure.attempts} attempts" if outcome.failure.attempts > 1 else ""
            self.say(f"{unit.label} fails{attempts} ({outcome.failure.kind}): {outcome.failure.reason}")
        else:
            self.failed.discard(unit.id)
            self.done.add(unit.id)
            self.seconds.append(outcome.seconds)
            if outcome.facts and outcome.facts["score"] is not None:
                self.scores[unit.id] = outcome.facts["score"]
        for listener in self.listeners:
            listener.heard(outcome, self)

    def _lose_hope(self, failure: Failure) -> None:
        """Stop if the first units have all failed for one reason, which is then not theirs."""
        self._reasons.append(failure.reason)
        if len(self._reasons) >= HOPELESS and not self.done and len(set(self._reasons)) == 1:
            raise ValueError(f"the first {HOPELESS} units have all failed, and none has a result: {failure.reason}")

    def show(self, now: bool = False) -> None:
        """One line, unless there was one a moment ago."""
        line = self.line()
        if (now and line != self._line) or time.monotonic() - self._said >= PAUSE:
            self._said, self._line = time.monotonic(), line
            self.say(line)

    def line(self) -> str:
        """``12/60 done, 1 failed, 8 running, about 4 min left; pass@2 mean 0.250, best 1.000``."""
        parts = [f"{len(self.done)}/{self.total} done"]
        parts += [
            f"{count} {name}" for count, name in ((len(self.failed), "failed"), (self.running, "running")) if count
        ]
        left = self.total - len(self.done) - len(self.failed)
        if left and self.seconds:
            parts.append(f"about {duration(fmean(self.seconds) * left / self.workers)} left")
        return ", ".join(parts) + self._scores()

    def median_seconds(self) -> float | None:
        """Of a unit in this start; ``None`` before the first."""
        return median(self.seconds) if self.seconds else None

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _scores(self) -> str:
        mains = {self.manifest.by_id[unit].main for unit in self.scores}
        if len(mains) != 1:
            return ""
        values = self.scores.values()
        return f"; {mains.pop()} mean {sum(values) / len(values):.3f}, highest {max(values):.3f}"


def duration(seconds: float) -> str:
    """``7 h 05 min``, ``5 min`` or ``40 s``."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min" if seconds >= 60 else f"{seconds:.0f} s"
