"""Mistakes of the user as one message; imports nothing, so that verbs without torch can use it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show mistakes of the user, which our own code explains, as one message instead of a traceback."""
    try:
        yield
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        if not frames or PACKAGE not in Path(frames[-1].filename).parents:
            raise
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
