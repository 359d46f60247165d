"""What a card can do at most, and what share of it was used."""

from __future__ import annotations

import re
import statistics

import torch

from benchmarks.harness import timed

#: dense bf16 TFLOP a second with fp32 sums, from data sheets; the first name that is a word of the card's own counts
DATA_SHEETS = {
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
}
#: side of the square matrices that are multiplied, on an accelerator and on a CPU
SIDES = {True: 8192, False: 512}


def card_name() -> str:
    """Of the accelerator, or ``cpu``."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def peak_tflops(name: str) -> float | None:
    """TFLOP a second by data sheet; ``None`` for a card that is not in the list."""
    return next((v for key, v in DATA_SHEETS.items() if re.search(rf"\b{key}\b", name, re.IGNORECASE)), None)


def matmul_tflops(repeats: int = 5) -> float:
    """TFLOP a second of one large product of bf16 matrices (fp32 on a CPU): what this card gives in practice."""
    gpu = torch.accelerator.is_available()
    side, dtype = SIDES[gpu], torch.bfloat16 if gpu else torch.float32
    a = torch.randn(side, side, dtype=dtype, device=torch.accelerator.current_accelerator() if gpu else "cpu")
    timed(lambda: a @ a)
    return 2 * side**3 / statistics.median(timed(lambda: a @ a) for _ in range(repeats)) / 1e12


def share(tflop: float | None, seconds: float, peak: float | None) -> float | None:
    """Part of a peak in TFLOP a second that so much work in so many seconds comes to."""
    return None if tflop is None or peak is None else tflop / seconds / peak
