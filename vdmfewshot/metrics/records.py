"""Per-sample records on disk: the only truth about a score, from which it can be recomputed at any time."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.storage.atomic import replacing
from vdmfewshot.storage.documents import misfit, parse_json
from vdmfewshot.storage.errors import DamagedFileError

Record = dict[str, Any]

#: published records of a folder
RECORDS = "records.jsonl"
#: what each expected sample counts as if its record is missing
MANIFEST = "manifest.jsonl"
#: one line a sample for people: key, main score, confidence, failure
SAMPLES = "samples.jsonl"


@dataclass(frozen=True)
class Score:
    """One score of a data set.

    Attributes:
        score: the value; NaN if undefined.
        low: lower end of the 95 % interval.
        high: upper end.
        n: samples with a usable prediction.
        n_expected: samples in the denominator.
    """

    score: float
    low: float
    high: float
    n: int
    n_expected: int

    @property
    def coverage(self) -> str:
        """``360/400``: how many of the expected samples have a prediction."""
        return f"{self.n}/{self.n_expected}"


class RecordWriter:
    """Appends the records of one rank to its own file, so that a killed evaluation keeps what it has done.

    Args:
        folder: of the evaluation; created. An older file of this rank is overwritten.
        rank: of this process.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.records: dict[str, Record] = {}
        self._stream = (folder / f"records.rank{rank}.jsonl").open("w", encoding="utf-8")

    def append(self, record: Mapping[str, Any]) -> bool:
        """Write a record, unless its key was written before (a duplicate that pads a batch): then return False."""
        key = record["key"]
        if key in self.records:
            return False
        line = to_json(record)
        self._stream.write(line + "\n")
        self._stream.flush()
        # What is kept in memory is what a reader of the file would get.
        self.records[key] = parse_json(line)
        return True

    def close(self) -> None:
        """Close the file; appending is over."""
        self._stream.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def merge(shards: Iterable[Iterable[Record]]) -> list[Record]:
    """Records of several ranks, one per key (the first one wins), in the order of their keys."""
    merged: dict[str, Record] = {}
    for record in (record for shard in shards for record in shard):
        merged.setdefault(record["key"], record)
    return [merged[key] for key in sorted(merged)]


def publish(folder: Path, records: Iterable[Mapping[str, Any]], name: str = RECORDS) -> Path:
    """Write all records at once: a reader sees the old file or the whole new one. Shards of ranks are then removed.

    Returns:
        the file.
    """
    file = folder / name
    write_atomically(file, "".join(to_json(record) + "\n" for record in records))
    if name == RECORDS:
        for shard in _shards(folder):
            shard.unlink(missing_ok=True)
    return file


def read_records(path: Path) -> list[Record]:
    """Records of a file, or of an evaluation folder: published ones, else what its ranks had written when it ended.

    A last line cut short by a kill is dropped from a rank's file, with a warning.

    Raises:
        FileNotFoundError: if there are none.
        DamagedFileError: if a line is not a record, naming file and line.
    """
    if path.is_dir() and (path / RECORDS).exists():
        path = path / RECORDS
    if not path.is_dir():
        return _read_lines(path, torn=False)
    shards = _shards(path)
    if not shards:
        raise FileNotFoundError(f"{path} holds neither {RECORDS} nor records.rank*.jsonl: nothing was evaluated here")
    return merge(_read_lines(shard, torn=True) for shard in shards)


def complete(records: Sequence[Record], manifest: Sequence[Record]) -> list[Record]:
    """One record per expected sample: its own, or the failure that the manifest holds for it.

    Args:
        records: what there is.
        manifest: ``{"key": ..., **metric.measure([], pair)}`` of every sample of the data set.

    Raises:
        ValueError: if a record is not of this data set.
    """
    found = {record["key"]: record for record in records}
    expected = {record["key"]: record for record in manifest}
    foreign = sorted(found.keys() - expected.keys())
    if foreign:
        raise ValueError(f"{len(foreign)} records are not in the manifest ({foreign[0]}, ...): of another data set?")
    return [found.get(key, failure) for key, failure in sorted(expected.items())]


def recompute(
    records: Sequence[Record], metric: TaskMetric, manifest: Sequence[Record] | None = None
) -> dict[str, float]:
    """Scores of records, in this process alone, whatever other ranks do.

    Args:
        records: one per sample.
        metric: of the data set; it is reset.
        manifest: every expected sample; those without a record count as failures.
    """
    metric.reset()
    distributed, metric.distributed_available_fn = metric.distributed_available_fn, lambda: False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*compute.* method of metric .* was called before")
            for record in complete(records, manifest) if manifest is not None else records:
                _update(metric, record)
            return {name: float(value) for name, value in metric.compute().items()}
    finally:
        metric.distributed_available_fn = distributed


def _update(metric: TaskMetric, record: Record) -> None:
    try:
        metric.update(record)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedFileError(
            f"record {record['key']} is damaged or of another metric ({type(error).__name__}: {error}); run the "
            "evaluation again"
        ) from error


def summarize(records: Sequence[Record], metric: TaskMetric, manifest: Sequence[Record]) -> dict[str, Score]:
    """Scores with their 95 % intervals and coverage; see ``recompute``."""
    rows = complete(records, manifest)
    intervals = metric.intervals(rows)
    usable = sum(record.get("attempts", 1) != 0 for record in records)
    return {
        name: Score(value, intervals[name].low, intervals[name].high, usable, len(rows))
        for name, value in recompute(rows, metric).items()
    }


def write_atomically(file: Path, text: str) -> None:
    """Write a text file in one step, see ``replacing``."""
    with replacing(file) as draft:
        draft.write_text(text, encoding="utf-8")


def to_json(value: Any) -> str:
    """One line of strict JSON: NumPy values as plain ones, NaN and infinity as null."""
    return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _record(line: str) -> Record:
    record = parse_json(line)
    problem = misfit(record, {"key": str})
    if problem:
        raise ValueError(problem)
    return dict(record)


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("records.rank*.jsonl"))


def _read_lines(file: Path, *, torn: bool) -> list[Record]:
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                records.append(_record(line))
        except (ValueError, RecursionError) as error:
            if not (torn and number == len(lines)):
                raise DamagedFileError(
                    f"{file}, line {number}: not a JSON record ({error}); run the evaluation again"
                ) from error
            warnings.warn(f"{file}: the last record was cut short and is dropped", stacklevel=3)
    return records
