"""Ends a run that hangs: a step or a loader that takes many times longer than those before."""

from __future__ import annotations

import faulthandler
import os
import statistics
import sys
import threading
import time
from collections import deque
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Watchdog(Callback):
    """Watches training from its third step on: each step, and each wait for the loader.

    One that takes longer than ``factor`` times the median of the last steps, and than ``patience``, ends the process
    with status 75 (try again) and a message that says where it hangs; the last checkpoint is whole. Validation, which
    may take any time, is not watched.

    Args:
        patience: seconds that any step may take.
        factor: times the median step.

    Raises:
        ValueError: if an argument is not positive.
    """

    def __init__(self, patience: float = 300.0, factor: float = 20.0) -> None:
        for name, value in (("patience", patience), ("factor", factor)):
            if value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
        self.patience = patience
        self.factor = factor
        self._seconds: deque[float] = deque(maxlen=50)
        self._beat = 0.0
        self._watching = False
        self._over = threading.Event()

    def limit(self) -> float:
        """Seconds that a step may take now."""
        return max(self.patience, self.factor * statistics.median(self._seconds))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to watch."""
        self._seconds.clear()
        self._watching = False
        self._over.clear()
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The loader has delivered."""
        self._beat = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done; the wait for the loader begins."""
        now = time.monotonic()
        self._seconds.append(now - self._beat)
        self._beat, self._watching = now, len(self._seconds) >= 3

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look away."""
        self._watching = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch again, after the next step."""
        self._beat = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop."""
        self._over.set()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop."""
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self.patience / 4)):
            if self._watching and time.monotonic() - self._beat > self.limit():
                self._end()

    def _end(self) -> None:
        median = statistics.median(self._seconds)
        sys.stderr.write(
            f"error: training hangs: a step or its data took over {self.limit():.0f} s, the median step {median:.1f}; "
            "start again from the last checkpoint, or set patience of the Watchdog callback. It hangs here:\n"
        )
        faulthandler.dump_traceback(all_threads=True)
        sys.stderr.flush()
        os._exit(os.EX_TEMPFAIL)
