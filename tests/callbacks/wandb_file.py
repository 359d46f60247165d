"""Reads a ``.wandb`` file: W&B's own records, framed as LevelDB's logs are, behind a header of seven bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any
from zlib import crc32

from wandb.proto import wandb_internal_pb2 as pb

BLOCK = 32768
HEADER = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Run:
    """What one file holds."""

    record: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)

    def files(self, kind: str) -> dict[str, Path]:
        """Files of the last artifact of this kind by their place in it."""
        artifact = [artifact for artifact in self.artifacts if artifact.type == kind][-1]
        return {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}

    def table(self, key: str) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of the last table, whose cells of pictures are replaced by their bytes."""
        files = self.files("run_table")
        content = json.loads(files[f"{key}.table.json"].read_text())
        rows = [[files[c["path"]].read_bytes() if isinstance(c, dict) else c for c in row] for row in content["data"]]
        return content["columns"], rows


def frames(data: bytes) -> Iterator[bytes]:
    assert data[:4] in (b":W&B", b"")
    position, parts = HEADER, []
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        checksum, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        part = data[position + HEADER : position + HEADER + length]
        assert checksum == crc32(bytes([kind]) + part), "the record is damaged"
        position += HEADER + length
        parts = [part] if kind in (FULL, FIRST) else [*parts, part]
        if kind in (FULL, LAST):
            yield b"".join(parts)


def read_run(file: Path) -> Run:
    """Read a run that is finishing: W&B's service writes the last record, its exit, in its own time."""
    run = Run()
    for _ in range(300):
        records = list(frames(file.read_bytes()))
        if records and pb.Record.FromString(records[-1]).HasField("exit"):
            break
        sleep(0.1)
    for frame in records:
        record = pb.Record.FromString(frame)
        if record.HasField("run"):
            run.record = record.run
            run.config |= items(record.run.config.update)
        if record.HasField("config"):
            run.config |= items(record.config.update)
        if record.HasField("history"):
            run.history.append(items(record.history.item))
        if record.HasField("summary"):
            run.summary |= items(record.summary.update)
        if record.HasField("artifact"):
            run.artifacts.append(record.artifact)
    return run


def items(entries: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in entries:
        *outer, last = [entry.key] if entry.key else entry.nested_key
        inner = found
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = json.loads(entry.value_json)
    return found
