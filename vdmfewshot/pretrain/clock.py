"""Time: of the process, of a stage of training (or its steps, for tests), and of arithmetic in bfloat16."""

from __future__ import annotations

import os
import time

import psutil
import torch

#: counted from where the system does not know when the process started
IMPORTED = time.time()


def process_age() -> float:
    """Seconds since this process started, imports included; since this import where the system says nonsense."""
    born = float(psutil.Process(os.getpid()).create_time())
    return max(0.0, time.time() - (born if IMPORTED - 300 < born <= IMPORTED else IMPORTED))


def bf16_is_fast(device: torch.device) -> bool:
    """Whether bfloat16 matrices are multiplied faster than float32 ones: some CPUs take fifty times as long."""
    if device.type != "cpu":
        return True
    seconds = []
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(768, 768, dtype=dtype)
        matrix @ matrix
        since = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - since)
    return seconds[1] < 0.8 * seconds[0]


class StageClock:
    """Progress from 0 to 1 over some seconds, or over some steps."""

    def __init__(self, seconds: float, steps: int | None = None) -> None:
        """Start now.

        Args:
            seconds: Length of the stage.
            steps: Length in steps instead, whatever time they take.
        """
        self.started, self.seconds, self.steps = time.monotonic(), seconds, steps

    def progress(self, step: int) -> float:
        """0 at the start, 1 and more when the stage is over; ``step`` counts the steps of this stage."""
        if self.steps is not None:
            return step / self.steps if self.steps > 0 else 1.0
        return (time.monotonic() - self.started) / self.seconds if self.seconds > 0 else 1.0


def rate_factor(progress: float, step: int, warmup: int = 100, decay_share: float = 0.4, floor: float = 0.02) -> float:
    """Factor on the peak rate: rise, plateau, linear fall over the last share of the stage.

    The rise takes ``warmup`` steps, or a twentieth of a stage that is shorter than that.
    """
    rise = min(1.0, max((step + 1) / warmup, 20 * progress))
    fall = min(1.0, max(0.0, (1 - progress) / decay_share))
    return rise * (floor + (1 - floor) * fall)
