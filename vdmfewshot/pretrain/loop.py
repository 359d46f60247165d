"""One stage of training that survives short memory, losses that are not finite, a failing compiler, a stop signal."""

from __future__ import annotations

import contextlib
import math
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vdmfewshot.pretrain.averages import WeightAverage
from vdmfewshot.pretrain.clock import StageClock, rate_factor
from vdmfewshot.pretrain.muon import MuonAdamW

REPORT_SECONDS, SAVE_SECONDS = 10.0, 60.0
MOST_FAILURES = 6
CLIP_NORM = 1.0


class TookTooLong(BaseException):
    """Raised by `_time_limit`; no Exception, since a compiler that catches its own errors must not catch this."""


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `TookTooLong` in the block after some seconds, and again every five; in the main thread only."""

    def ring(*_: object) -> None:
        raise TookTooLong(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Stage:
    """What is trained, and how.

    Attributes:
        name: For the log and the names of its tensors.
        model: Float32 weights.
        loss: Scalar loss of a fresh batch of that many clips.
        groups: Parameter groups of `MuonAdamW`.
        lr: Peak rate of the AdamW part.
        batch: Clips a step.
        muon_scale: Ratio of Muon's rate to ``lr``.
        forget: Frees what a smaller batch or a restart has no use for.
        bf16: Calculate in bfloat16 where autocast does; weights stay float32.
        blocks: Parts of the model of one kind, which are compiled once for all of them.
    """

    name: str
    model: nn.Module
    loss: Callable[[int], Tensor]
    groups: list[dict[str, Any]]
    lr: float
    batch: int
    muon_scale: float = 4.0
    forget: Callable[[], None] = lambda: None
    bf16: bool = False
    blocks: Sequence[nn.Module] = ()
    average: WeightAverage = field(init=False)
    optimizer: MuonAdamW = field(init=False)

    def __post_init__(self) -> None:
        """Make optimiser and average."""
        self.optimizer = MuonAdamW(self.groups, lr=self.lr, muon_scale=self.muon_scale, bf16=self.bf16)
        self.average = WeightAverage(self.model)

    def weights(self) -> list[Tensor]:
        """Trained weights, their averages and the optimiser's tensors, to copy and to compare."""
        states = [v for state in self.optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
        return [*self.model.parameters(), *self.average.module.parameters(), *states]

    def healthy(self) -> bool:
        """Whether all of it is finite."""
        finite = torch.stack([tensor.detach().abs().amax().float() for tensor in self.weights() if tensor.numel()])
        return bool(finite.isfinite().all())


class Loop:
    """Trains stages one after the other.

    Attributes:
        step: Steps of all stages, those of earlier runs included.
        stopped: Set by a signal; the stage then ends.
    """

    def __init__(
        self,
        device: torch.device,
        between: Callable[[], str],
        save: Callable[[Stage], None],
        log: Callable[[str], None],
        step: int = 0,
    ) -> None:
        """Wire the loop.

        Args:
            device: Of the models.
            between: Called before every step, to take in new clips; returns a note for the log.
            save: Writes a checkpoint.
            log: Takes a line.
            step: Steps of earlier runs.
        """
        self.device, self.between, self.save, self.log, self.step = device, between, save, log, step
        self.stopped = False
        self.eager = False

    def run(self, stage: Stage, clock: StageClock) -> None:
        """Train until the clock says so or the run is stopped, and save.

        Raises:
            RuntimeError: If steps fail in a row although nothing is left to make smaller; the last checkpoint stays.
        """
        self.stage, self.clock = stage, clock
        self.failures, self.steps, self.seen, self.scale = 0, 0, 0, 1.0
        self.losses: list[Tensor] = []
        self.best = math.inf
        self.reported = self.saved = time.monotonic()
        self.good = self._snapshot()
        while clock.progress(self.steps) < 1 and not self.stopped:
            note = self.between()
            self._attempt()
            if time.monotonic() - self.reported > REPORT_SECONDS:
                self._report(note)
            if time.monotonic() - self.saved > SAVE_SECONDS:
                self._checkpoint()
        self._report(self.between())
        self._checkpoint()

    def warm_up(self, stage: Stage, seconds: float = 60) -> None:
        """Compile the model's blocks, or go on without if that fails or takes too long."""
        since = time.monotonic()
        try:
            with _time_limit(seconds):
                for block in stage.blocks:
                    block.compile()
                for _ in range(12):  # all kinds of batches, very likely
                    self._backward(stage)
        except (Exception, TookTooLong) as error:
            self._no_compiler(f"{type(error).__name__}: {error}")
        stage.optimizer.zero_grad()
        self.log(f"compiled in {time.monotonic() - since:.0f} s" if not self.eager else "not compiled")

    def _no_compiler(self, reason: str) -> None:
        self.eager = True
        torch.compiler.set_stance("force_eager")
        self.log(f"the compiler is off from now on: {reason[:300]}")

    def _attempt(self) -> None:
        try:
            self._update()
            self.failures = 0
        except torch.OutOfMemoryError:
            self._shrink()
        except Exception:
            self._fail()

    def _update(self) -> None:
        stage = self.stage
        factor = rate_factor(self.clock.progress(self.steps), self.steps) * self.scale
        for group in stage.optimizer.param_groups:
            group["lr"] = stage.lr * factor
        loss = self._backward(stage)
        nn.utils.clip_grad_norm_(stage.model.parameters(), CLIP_NORM)
        stage.optimizer.step()
        stage.average.update(stage.model)
        self.losses.append(loss.detach())
        self.steps += 1
        self.step += 1
        self.seen += stage.batch

    def _backward(self, stage: Stage) -> Tensor:
        stage.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=stage.bf16):
            loss = stage.loss(stage.batch)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return loss

    def _report(self, note: str) -> None:
        now = time.monotonic()
        if not self.losses:
            return
        loss = float(torch.stack(self.losses).mean())
        rate = self.seen / max(1e-9, now - self.reported)
        progress = min(1.0, self.clock.progress(self.steps))
        lr = self.stage.optimizer.param_groups[0]["lr"]
        if self.device.type == "cuda":
            note += f"  {torch.cuda.max_memory_allocated() / 2**30:.0f} GiB"
        self.log(f"{self.stage.name} {100 * progress:3.0f} %  step {self.step}  loss {loss:.4f}  {rate:.0f} clips/s  "
                 f"batch {self.stage.batch}  rate {lr:.1e}  {note}")  # fmt: skip
        self.losses, self.seen, self.reported = [], 0, now
        if loss < 3 * self.best + 0.1 and self.stage.healthy():
            self.best, self.good = min(self.best, loss), self._snapshot()
        else:
            self._go_back(f"loss {loss:.4f}")

    def _checkpoint(self) -> None:
        if not self.stage.healthy():
            self._go_back("weights are not finite")
        self.save(self.stage)
        self.saved = time.monotonic()

    def _snapshot(self) -> list[Tensor]:
        return [tensor.detach().cpu().clone() for tensor in self.stage.weights()]

    @torch.no_grad()
    def _go_back(self, reason: str) -> None:
        """Return to the last healthy weights, at half the rate; the optimiser starts anew."""
        self.log(f"{reason}: back to the last good weights, at half the rate")
        stage = self.stage
        stage.optimizer.state.clear()
        for tensor, good in zip(stage.weights(), self.good, strict=False):
            tensor.copy_(good)
        for group in stage.optimizer.param_groups:
            group.pop("step", None)
        self.scale /= 2

    def _shrink(self) -> None:
        """Halve the batch after running out of memory."""
        stage = self.stage
        stage.optimizer.zero_grad()
        stage.forget()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if stage.batch == 1:
            raise RuntimeError("not even one clip fits into memory")
        stage.batch //= 2
        self.log(f"out of memory: batch {stage.batch} from now on")

    def _fail(self) -> None:
        """Without the compiler after a first failure; give up after several in a row."""
        self.failures += 1
        if self.failures == 1:
            self.log(f"a step failed:\n{traceback.format_exc(limit=-4)}")
        self.stage.forget()
        if not self.eager:
            self._no_compiler("a step failed")
        if self.failures >= MOST_FAILURES:
            raise RuntimeError(f"{self.failures} steps failed in a row; the last checkpoint is kept")
