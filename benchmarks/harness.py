"""Interleaved timing, what it ran on, and the same table on the screen and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import vdmfewshot

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "lightning", "diffusers", "peft")


def arguments(description: str) -> argparse.ArgumentParser:
    """Parser with what every script takes; warnings of libraries about their own insides stay off the tables."""
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="rounds; every case is timed once in each")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON file")
    return parser


def interleave(cases: Mapping[str, Callable[[], object]], repeats: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Seconds of each case in each round; a round runs all cases, so that other load on the machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repeats + warm_up):
        for name, case in cases.items():
            elapsed = timed(case)
            if turn >= warm_up:
                seconds[name].append(elapsed)
    return seconds


def timed(case: Callable[[], object]) -> float:
    """Seconds of one call, the accelerator's queue included."""
    _synchronize()
    start = time.perf_counter()
    case()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def ratios(seconds: Mapping[str, Sequence[float]], baseline: str) -> list[dict[str, Any]]:
    """Rows of the table: seconds, and how many times faster than the baseline, the median of the rounds' own ratios."""
    rows = []
    for name, values in seconds.items():
        times = [base / value for base, value in zip(seconds[baseline], values, strict=True)]
        spread = {"min": min(values), "median": statistics.median(values), "max": max(values)}
        rows.append({"case": name, **spread, "times_faster": statistics.median(times)})
    return rows


def hardware() -> dict[str, Any]:
    """What the numbers were measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        **{name: installed(name) for name in LIBRARIES},
        "vdmfewshot": vdmfewshot.__version__,  # a checkout need not be installed
    }


def installed(name: str) -> str | None:
    """Version of a library; ``None`` if nothing tells."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def publish(name: str, rows: Sequence[Mapping[str, Any]], args: argparse.Namespace, **more: Any) -> Path:
    """Print the rows and write them, with hardware, versions and the command, to ``<output>/<name>.json``.

    Args:
        name: of the file.
        rows: all with the same keys.
        args: of the script.
        more: further content of the file.

    Returns:
        the file.
    """
    table = Table(*rows[0], title=name)
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)
    script = Path(sys.argv[0]).stem
    content = {"command": f"python -m benchmarks.{script} {shlex.join(sys.argv[1:])}".strip(), "hardware": hardware()}
    args.output.mkdir(parents=True, exist_ok=True)
    file = Path(args.output) / f"{name}.json"
    file.write_text(json.dumps({**content, "rows": list(rows), **more}, indent=2) + "\n")
    return file
