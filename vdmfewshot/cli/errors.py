"""Mistakes of the user: one message, never a traceback, and what was meant instead."""

from __future__ import annotations

import difflib
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vdmfewshot.storage.errors import storage_error

PACKAGE = Path(__file__).parents[1]
#: what the other processes of a run say when one of them has ended
LOST = (
    "another process of this run has ended, or its machine is out of reach, so this one ends too; what it said last "
    "tells why. Go on from the last checkpoint with --ckpt_path"
)


class Mistake(ValueError):
    """A command line or configuration that cannot mean anything.

    Args:
        message: rule, value and remedy.
        see: the command whose help says more.
    """

    def __init__(self, message: str, see: str = "") -> None:
        super().__init__(message)
        self.see = see


def nearest(word: str, known: Iterable[str], count: int = 2) -> list[str]:
    """The known names that a word may be a misspelling of, the likeliest first; none if it resembles none."""
    by_lower = {name.lower(): name for name in sorted(known)}
    close = difflib.get_close_matches(word.lower(), by_lower, n=count, cutoff=0.6)
    if not close:
        return []
    best = difflib.SequenceMatcher(None, word.lower(), close[0]).ratio()
    # A clear winner stands alone; others are named only if they are nearly as near.
    return [by_lower[n] for n in close if difflib.SequenceMatcher(None, word.lower(), n).ratio() > best - 0.05]


def did_you_mean(word: str, known: Iterable[str], prefix: str = "", otherwise: bool = False) -> str:
    """``; did you mean A or B?``, or nothing; ``otherwise`` lists what there is if nothing resembles the word."""
    names = sorted(known)
    near = nearest(word, names)
    if near:
        return f"; did you mean {' or '.join(prefix + name for name in near)}?"
    return f"; there are {', '.join(prefix + name for name in names)}" if otherwise else ""


def refuse(error: Exception, see: str = "") -> SystemExit:
    """Print a mistake and return the exit that ends the process with status 2."""
    lines = [f"error: {error}", *([f"see: {see} --help"] if see else [])]
    sys.stderr.write("\n".join(lines) + "\n")
    return SystemExit(2)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show mistakes of the user, which our own code explains, as one message instead of a traceback."""
    try:
        yield
    except Mistake as error:
        raise refuse(error, error.see) from None
    except KeyboardInterrupt as error:
        sys.stderr.write(f"{str(error) or 'stopped'}\n")
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        if (known := storage_error(error)) is not None:
            sys.stderr.write(f"error: {known}\n")
            raise SystemExit(os.EX_IOERR) from None
        if is_lost_process(error):
            sys.stderr.write(f"error: {LOST}\n")
            raise SystemExit(os.EX_TEMPFAIL) from None
        known_mistake = explained(error)
        if known_mistake is None:
            raise
        raise refuse(known_mistake) from None


def is_lost_process(error: BaseException) -> bool:
    """Whether torch's collectives failed because a process that takes part is gone, or does not answer.

    By names, so that torch need not be imported: NCCL raises a ``DistError``, gloo a bare ``RuntimeError``.
    """
    if any(cls.__name__ == "DistError" for cls in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and "gloo/transport" in str(error)


def explained(error: Exception) -> Exception | None:
    """The error that tells a person what is wrong: this one, or the one that jsonargparse wraps in a list of types."""
    if is_explained(error):
        return error
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    cause = error.__cause__
    return explained(cause) if isinstance(cause, Exception) and "jsonargparse" in Path(last).parts else None


def is_explained(error: BaseException) -> bool:
    """Whether our own code raised an error to tell a person what is wrong; all others are mistakes of a program."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = bool(frames) and PACKAGE in Path(frames[-1].filename).parents
    return ours and isinstance(error, ValueError | FileNotFoundError | FloatingPointError)
