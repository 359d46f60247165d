"""Checkpoints in a few small files: safetensors shards that replace the last ones only when they are complete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vdmfewshot.storage.documents import parse_json
from vdmfewshot.storage.errors import DamagedFileError

SHARD = 15 * 2**20
"""Bytes of a shard at most, a little below the 16 MiB that some machines hand out per file."""
TOTAL = 62 * 2**20
"""Bytes of a checkpoint at most: with the log it stays below 64 MiB and 8 files."""
PATTERN = "checkpoint-*.safetensors"


def fits(groups: Sequence[Mapping[str, Tensor]], limit: int = TOTAL) -> dict[str, Tensor]:
    """Join groups of tensors, the most important first, as long as they fit into ``limit`` bytes."""
    chosen: dict[str, Tensor] = {}
    room = limit
    for group in groups:
        size = sum(tensor.nbytes for tensor in group.values())
        if size <= room:
            chosen.update(group)
            room -= size
    return chosen


def packed(tensors: Mapping[str, Tensor], limit: int = SHARD) -> Iterator[dict[str, Tensor]]:
    """Cut a mapping into pieces of at most ``limit`` bytes, one tensor at least in each."""
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        if shard and size + tensor.nbytes > limit:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor.contiguous()
        size += tensor.nbytes
    yield shard


def save(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint; a run that is killed meanwhile leaves the one before.

    All shards are written beside ``folder`` first, then moved into it one after the other.

    Args:
        folder: Holds one checkpoint; others of its files stay.
        tensors: By name, on the CPU.
        state: What JSON can hold; kept in the header of every shard.
    """
    draft = _draft(folder)
    shards = list(packed(tensors))
    for number, shard in enumerate(shards):
        metadata = {"state": json.dumps({**state, "shards": len(shards)})}
        save_file(shard, draft / f"checkpoint-{number}.safetensors", metadata=metadata)
    for file in sorted(draft.iterdir()):
        os.replace(file, folder / file.name)
    for file in folder.glob(PATTERN):
        if int(file.stem.rsplit("-", 1)[1]) >= len(shards):
            file.unlink()
    draft.rmdir()


def _draft(folder: Path) -> Path:
    """An empty folder on the same file system, outside ``folder`` where that is allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    for draft in (folder.parent / f".{folder.resolve().name}-draft", folder / ".draft"):
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
        except OSError:
            continue
        if draft.stat().st_dev == folder.stat().st_dev:
            return draft
        draft.rmdir()
    raise OSError(f"cannot write into {folder}")


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the checkpoint of a folder.

    Returns:
        Tensors by name, and the state.

    Raises:
        FileNotFoundError: If there is none, or shards of it are missing.
    """
    files = sorted(folder.glob(PATTERN))
    if not files:
        raise FileNotFoundError(f"{folder} holds no checkpoint ({PATTERN}); give the folder that a run wrote to")
    tensors: dict[str, Tensor] = {}
    states = []
    for file in files:
        try:
            with safe_open(file, "pt") as shard:
                states.append(parse_json(shard.metadata()["state"]))
                tensors.update({name: shard.get_tensor(name) for name in shard.keys()})  # noqa: SIM118 (no mapping)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(f"{file} is damaged ({error}); copy it again or take an older one") from error
    newest: dict[str, Any] = max(states, key=lambda state: int(state["step"]))
    if len(files) < newest["shards"]:
        raise FileNotFoundError(f"{folder} holds {len(files)} of {newest['shards']} shards; copy all of {PATTERN}")
    return tensors, newest
