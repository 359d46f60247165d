"""Estimates kept between runs: the same settings cost the same, and counting takes a second or two."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import vdmfewshot
from vdmfewshot.budget.cost import Cost, Denoiser
from vdmfewshot.storage.atomic import replacing
from vdmfewshot.storage.documents import NUMBER, misfit, read_object
from vdmfewshot.storage.errors import DamagedFileError
from vdmfewshot.storage.tensors import cache_home

#: whose releases may count otherwise
LIBRARIES = ("torch", "diffusers", "transformers", "peft")
DENOISER = dict.fromkeys(Denoiser.__dataclass_fields__, NUMBER)
PLAIN = dict.fromkeys(Cost.__dataclass_fields__, NUMBER) | {"total": dict, "block": dict}


def recall(key: str) -> Cost | None:
    """The estimate of this key; ``None`` if there is none that can be read."""
    with suppress(OSError, DamagedFileError):
        content = read_object(place(key), PLAIN, "it is made again")
        parts = [content.pop("total"), content.pop("block")]
        if not any(misfit(part, DENOISER) for part in parts):
            return Cost(total=Denoiser(**parts[0]), block=Denoiser(**parts[1]), **content)
    return None


def remember(key: str, cost: Cost) -> None:
    """Keep an estimate; without room on the disk it is made again next time."""
    with suppress(OSError), replacing(place(key)) as draft:
        draft.write_text(json.dumps(asdict(cost)) + "\n", encoding="utf-8")


def place(key: str) -> Path:
    """The file of a key, in the cache folder."""
    return cache_home() / "estimates" / f"{hashlib.sha256(f'{release()} {key}'.encode()).hexdigest()}.json"


@cache
def release() -> str:
    """What counts: the libraries, and our own code down to its last change."""
    sources = sorted(Path(vdmfewshot.__file__).parent.rglob("*.py"))
    changed = max(file.stat().st_mtime_ns for file in sources)
    return f"{vdmfewshot.__version__} {len(sources)} {changed} {' '.join(map(_version, LIBRARIES))}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
