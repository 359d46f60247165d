"""What goes wrong with disks and files, in words that say what to do."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: error numbers of a disk, or a user's share of it, that is full
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: error numbers of a place that may not be written
LOCKED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
#: what libraries make of them that lose the number
FULL_WORDS = ("No space left on device", "Disk quota exceeded")
LOCKED_WORDS = ("Read-only file system", "Permission denied")
#: a disk with so few bytes left is full, whatever a library says why it could not write
CRUMBS = 1 << 16


class StorageError(OSError):
    """A file cannot be written; what it was before is still whole."""


class DiskFullError(StorageError):
    """There is no room left."""


class DamagedFileError(ValueError):
    """A file of ours does not hold what it should."""


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turn whatever a library raises because a disk is full or a folder locked into one message.

    Args:
        file: that the block writes.

    Raises:
        DiskFullError: if there is no room for it.
        StorageError: if it may not be written.
    """
    try:
        yield
    except Exception as error:
        known = storage_error(error, file)
        if known is None or isinstance(error, StorageError):
            raise
        raise known from error


def storage_error(error: BaseException, file: Path | None = None) -> StorageError | None:
    """What a failure says about the disk; ``None`` if it is about something else.

    Args:
        error: with all that led to it.
        file: that was being written; default: the one that the error names.
    """
    chain = list(causes(error))
    for known in chain:
        if isinstance(known, StorageError):
            return known
    named = next((str(e.filename) for e in chain if isinstance(e, OSError) and e.filename), None)
    place = str(file or named or "a file of this run")
    if _about(chain, FULL, FULL_WORDS) or (file is not None and _no_room(file)):
        return DiskFullError(f"disk full: {place} cannot be written; free some space and start again")
    if _about(chain, LOCKED, LOCKED_WORDS):
        return StorageError(f"{place} cannot be written: the folder is read-only; choose one that you may write to")
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what caused it or was being handled, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _about(chain: list[BaseException], numbers: frozenset[int], words: tuple[str, ...]) -> bool:
    return any(getattr(e, "errno", None) in numbers or any(word in str(e) for word in words) for e in chain)


def _no_room(file: Path) -> bool:
    folder = next((parent for parent in file.absolute().parents if parent.is_dir()), None)
    return folder is not None and shutil.disk_usage(folder).free < CRUMBS
