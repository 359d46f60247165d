"""Rows of a part of the GPU benchmark, on disk after each, and the card that they are measured on."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


class Rows:
    """Rows of a part, on disk after each; knows how much time is left.

    Args:
        file: where they go.
        seconds: of the part in all.
    """

    def __init__(self, file: Path, seconds: float) -> None:
        self.file, self.end = file, time.monotonic() + seconds
        self.rows: list[dict[str, Any]] = []

    @property
    def left(self) -> float:
        """Seconds until the part should end."""
        return self.end - time.monotonic()

    def add(self, row: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]], needs: float = 0.0) -> None:
        """Measure and write a row, or what went wrong; ``needs`` are seconds without which it is not begun."""
        if self.left <= needs:
            found: Mapping[str, Any] = {"error": f"not begun: {max(0.0, self.left):.0f} s left"}
        else:
            try:
                found = measure()
            except Exception as error:  # whatever it is (no memory, no kernel), the other cases go on
                found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"}
        self.rows.append({**row, **found})
        draft = self.file.with_suffix(".partial")
        draft.write_text(json.dumps(self.rows, indent=1) + "\n")
        draft.replace(self.file)


def current_device() -> torch.device:
    """The accelerator, or the CPU."""
    return (torch.accelerator.is_available() and torch.accelerator.current_accelerator()) or torch.device("cpu")


def autocast() -> torch.dtype | None:
    """Of mixed precision: bf16 on an accelerator; CPUs may have to emulate it."""
    return None if current_device().type == "cpu" else torch.bfloat16


def collect() -> None:
    """Return what is not needed any more to the card."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
