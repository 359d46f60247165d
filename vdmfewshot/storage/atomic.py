"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil

from vdmfewshot.storage.errors import writing

#: a draft of another machine, whose processes cannot be seen, is abandoned after a day
FOREIGN_SECONDS = 86_400.0


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside ``file``: what the block writes there is flushed to disk and then takes its name, in one step.

    If the block fails, ``file`` stays as it was and nothing is left. Permissions are those of any new file, so that
    results in a shared folder can be read by others.

    Args:
        file: to be replaced or made, with its folder.

    Raises:
        DiskFullError: if there is no room.
        StorageError: if its folder may not be written.
    """
    draft = file.with_name(f".{file.name}.{_writer()}.{uuid4().hex}.tmp")
    try:
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            draft.touch(exist_ok=False)
            mode = draft.stat().st_mode
            yield draft
            draft.chmod(mode)  # some libraries make files that only their owner may read
            flush(draft)
            os.replace(draft, file)
            flush(file.parent)
    finally:
        with suppress(OSError):  # there is none, or the disk is read-only
            draft.unlink()


def flush(path: Path) -> None:
    """Wait until a file, or the list of names that a folder is, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove the drafts that killed writers have left in a folder; those of writers that live are let alone."""
    for draft in folder.glob(".*.tmp"):
        with suppress(OSError):  # gone meanwhile, or not ours to remove
            if _abandoned(draft):
                draft.unlink()


def _writer() -> str:
    """Machine and process, so that a draft tells whether its writer still lives."""
    return f"{platform.node().replace('.', '-')}.{os.getpid()}"


def _abandoned(draft: Path) -> bool:
    machine, process = draft.name.split(".")[-4:-2]
    if machine != platform.node().replace(".", "-"):
        return time.time() - draft.stat().st_mtime > FOREIGN_SECONDS
    return not psutil.pid_exists(int(process)) if process.isdecimal() else False
