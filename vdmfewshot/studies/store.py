"""Results on disk: one folder a unit, which appears whole or not at all, and is the only record of what is done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from vdmfewshot.storage.atomic import replacing
from vdmfewshot.storage.documents import read_json, read_object

DONE = "DONE"
#: folder of a result that holds pictures, if they are kept
PICTURES = "pictures"
#: seconds after which a sign that a unit is running is not believed any more
STALE = 1800.0


@dataclass(frozen=True)
class Failure:
    """Why a unit has no result.

    Attributes:
        kind: ``data``, ``nan``, ``oom``, ``timeout``, ``crash`` or ``error``.
        reason: one line.
        attempts: how often it was tried.
        details: a traceback, or nothing.
    """

    kind: str
    reason: str
    attempts: int = 1
    details: str = ""


class Store:
    """The folder of a study.

    ``units/<ab>/<id>`` holds a result, ``failed/<id>.json`` why there is none, and a file in ``running`` the ids of a
    stack that somebody is at. Names are hashes: whatever a task is called, nothing is written elsewhere.

    Args:
        folder: of the study, on storage that all workers share.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, unit: str) -> Path:
        """Where the result of a unit is, or will be."""
        return self.folder / "units" / unit[:2] / unit

    # -- results ------------------------------------------------------------------------------------------------------

    def publish(self, unit: str, draft: Path, facts: Mapping[str, Any]) -> bool:
        """Make a finished draft the result of a unit: ``DONE`` is written last, then the folder takes its name.

        Nothing waits for the disk. After a power cut, a result of the last seconds whose files are not whole is known
        by their sizes and hashes, which ``DONE`` holds, and its unit is run again.

        Args:
            unit: id.
            draft: folder on the same file system; it is gone afterwards.
            facts: to be read without opening records, such as the score.

        Returns:
            Whether this is the result: ``False`` if another attempt was first, whose result stays untouched.
        """
        files = {
            path.relative_to(draft).as_posix(): sealed(path) for path in sorted(draft.rglob("*")) if path.is_file()
        }
        (draft / DONE).write_text(json.dumps({**facts, "id": unit, "files": files}, sort_keys=True), encoding="utf-8")
        place = self.place(unit)
        place.parent.mkdir(parents=True, exist_ok=True)
        first = self._take(draft, place)
        if not first:
            shutil.rmtree(draft, ignore_errors=True)
        self._failure(unit).unlink(missing_ok=True)
        return first

    def _take(self, draft: Path, place: Path) -> bool:
        for _ in range(3):
            try:
                os.rename(draft, place)  # fails if there is a folder with files in it, on every file system
                return True
            except OSError:
                if self.facts(place.name) is not None:
                    return False
                self.set_aside(place.name)
        raise OSError(f"cannot publish {place}: it exists, is no result and cannot be set aside")

    def facts(self, unit: str) -> dict[str, Any] | None:
        """What ``publish`` was told; ``None`` if there is no result, or one that lacks a file or a part of one."""
        place = self.place(unit)
        try:
            facts = read_object(place / DONE, {"files": dict}, "run the unit again")
            sizes = {name: (place / name).stat().st_size for name in facts["files"]}
        except (OSError, ValueError):
            return None
        return facts if all(facts["files"][name][0] == size for name, size in sizes.items()) else None

    def intact(self, unit: str) -> bool:
        """Whether every file of a result has the content it was published with."""
        facts = self.facts(unit)
        return facts is not None and all(
            sealed(self.place(unit) / name) == list(seal) for name, seal in facts["files"].items()
        )

    def set_aside(self, unit: str) -> None:
        """Move a damaged result away, so that the unit is run again."""
        with suppress(FileNotFoundError):
            os.rename(self.place(unit), self.scratch() / unit)

    def finished(self, units: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Facts of the units that have a result."""
        present = self._present()
        return {unit: facts for unit in units if unit in present and (facts := self.facts(unit)) is not None}

    def done(self, unit: str) -> bool:
        """Whether there is a result."""
        return self.facts(unit) is not None

    def _present(self) -> set[str]:
        found: set[str] = set()
        with suppress(FileNotFoundError):
            for shard in os.scandir(self.folder / "units"):
                if shard.is_dir():
                    found.update(entry.name for entry in os.scandir(shard.path))
        return found

    # -- failures -----------------------------------------------------------------------------------------------------

    def fail(self, unit: str, failure: Failure) -> None:
        """Record why a unit has no result; one that has a result has not failed."""
        if not self.done(unit):
            with replacing(self._failure(unit)) as file:
                file.write_text(json.dumps(vars(failure), sort_keys=True), encoding="utf-8")

    def failures(self) -> dict[str, Failure]:
        """Failures by unit; a damaged record is none, so that its unit runs again."""
        found = {}
        for file in (self.folder / "failed").glob("*.json"):
            with suppress(OSError, ValueError, TypeError):
                found[file.stem] = Failure(**read_json(file, "run the unit again"))
        return found

    def forget(self, unit: str) -> None:
        """Let a failed unit be run again."""
        self._failure(unit).unlink(missing_ok=True)

    def _failure(self, unit: str) -> Path:
        return self.folder / "failed" / f"{unit}.json"

    # -- signs of life ------------------------------------------------------------------------------------------------

    @contextmanager
    def claimed(self, units: Iterable[str]) -> Iterator[None]:
        """Within, others see that somebody is at these units. Only a courtesy: two results cannot collide."""
        sign = self.folder / "running" / f"{me()}-{uuid4().hex[:8]}"
        sign.parent.mkdir(parents=True, exist_ok=True)
        sign.write_text("\n".join(units), encoding="utf-8")
        try:
            yield
        finally:
            sign.unlink(missing_ok=True)

    def running(self) -> dict[str, str]:
        """Host and process by unit, of processes that may still be alive."""
        found = {}
        for file in (self.folder / "running").glob("*-*-*"):
            with suppress(OSError, ValueError):
                host, pid, _ = file.name.rsplit("-", 2)
                fresh = time.time() - file.stat().st_mtime < STALE
                if fresh and (host != socket.gethostname() or alive(int(pid))):
                    found.update(dict.fromkeys(file.read_text(encoding="utf-8").split(), f"{host} {pid}"))
        return found

    # -- drafts -------------------------------------------------------------------------------------------------------

    def scratch(self) -> Path:
        """A new empty folder on the file system of the results."""
        folder = self.folder / "scratch" / f"{me()}-{uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        return folder

    def sweep(self) -> None:
        """Remove drafts and signs of life of processes that have ended on this host."""
        for left in (found for name in ("scratch", "running") for found in (self.folder / name).glob("*-*-*")):
            host, pid, _ = left.name.rsplit("-", 2)
            if host == socket.gethostname() and pid.isdigit() and not alive(int(pid)):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def me() -> str:
    """Host and process."""
    return f"{socket.gethostname()}-{os.getpid()}"


def sealed(file: Path) -> list[Any]:
    """Size and SHA-256 of a file."""
    with file.open("rb") as stream:
        return [os.fstat(stream.fileno()).st_size, hashlib.file_digest(stream, "sha256").hexdigest()]


def alive(pid: int) -> bool:
    """Whether a process of this host still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
