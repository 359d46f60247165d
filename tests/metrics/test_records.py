from __future__ import annotations

import dataclasses
import json
import math
import os

import numpy as np
import pytest

from tests.metrics.samples import CASES, records
from vdmfewshot.metrics.records import (
    RecordWriter,
    Score,
    complete,
    merge,
    publish,
    read_records,
    recompute,
    summarize,
    to_json,
    write_atomically,
)


def manifest(name, n, seed=0):
    make, sample = CASES[name]
    rng = np.random.default_rng(seed)
    pairs = [sample(rng, i)[0] for i in range(n)]
    return [{"key": pair.key, **make().measure([], pair)} for pair in pairs]


@pytest.mark.parametrize("name", CASES)
def test_scores_come_back_from_disk(name, tmp_path):
    rows, metric = records(name, 9), CASES[name][0]()
    with RecordWriter(tmp_path) as writer:
        assert all(writer.append(row) for row in rows)
    publish(tmp_path, writer.records.values())
    restored = read_records(tmp_path)
    assert recompute(restored, metric) == pytest.approx(recompute(rows, metric), abs=1e-12, nan_ok=True)
    assert [path.name for path in tmp_path.iterdir()] == ["records.jsonl"]


@pytest.mark.parametrize("name", CASES)
def test_lost_records_count_as_failures(name):
    rows, metric, expected = records(name, 30), CASES[name][0](), manifest(name, 30)
    full = summarize(rows, metric, expected)
    kept = [row for i, row in enumerate(rows) if i % 10 != 3]
    lost = summarize(kept, metric, expected)
    assert full[metric.main].coverage == "30/30"
    assert lost[metric.main].coverage == "27/30"
    assert lost[metric.main].score < full[metric.main].score
    assert set(recompute(kept, metric, expected)) == set(lost)


def test_a_record_without_any_attempt_is_no_usable_prediction():
    rows, metric = records("mask", 4), CASES["mask"][0]()
    rows = [{**row, "attempts": attempts} for row, attempts in zip(rows, (0, 1, 2, 5), strict=True)]
    assert summarize(rows, metric, manifest("mask", 4))[metric.main].coverage == "3/4"


def test_records_of_another_data_set_are_refused():
    with pytest.raises(ValueError, match=r"1 records are not in the manifest \(z"):
        complete([{"key": "z"}], [{"key": "a"}])


def test_ranks_merge_without_duplicates(tmp_path):
    rows = records("mask", 7)
    for rank in range(3):  # a padded sampler gives ranks 1 and 2 samples of rank 0 again
        with RecordWriter(tmp_path, rank) as writer:
            for row in [*rows[rank::3], *rows[:2]][:3]:
                writer.append(row)
    merged = read_records(tmp_path)
    assert [row["key"] for row in merged] == sorted(row["key"] for row in rows)
    metric = CASES["mask"][0]()
    assert recompute(merged, metric) == recompute(sorted(rows, key=lambda row: row["key"]), metric)


def test_writer_drops_a_key_seen_before(tmp_path):
    with RecordWriter(tmp_path) as writer:
        assert writer.append({"key": "a", "value": 1})
        assert not writer.append({"key": "a", "value": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["records.rank0.jsonl"]
    assert read_records(tmp_path) == [{"key": "a", "value": 1}]
    assert merge([[{"key": "b"}], [{"key": "a"}]]) == [{"key": "a"}, {"key": "b"}]


def test_killed_evaluation_keeps_its_records(tmp_path):
    with RecordWriter(tmp_path / "made" / "with its parents") as writer:
        for i in range(5):
            writer.append({"key": f"k{i}"})
    shard = next(tmp_path.rglob("*.jsonl"))
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.warns(UserWarning, match="cut short"):
        assert len(read_records(shard.parent)) == 4
    shard.write_text(shard.read_text().replace('"k1"', '"k1'))
    with pytest.raises(ValueError, match=r"records.rank0.jsonl, line 2: not a JSON record"):
        read_records(shard.parent)


def test_damaged_records_are_an_error_that_names_the_line(tmp_path):
    file = publish(tmp_path, [{"key": "a"}, {"key": "b"}])
    file.write_text(file.read_text().replace('"a"', '"a'))
    with pytest.raises(ValueError, match=r"records.jsonl, line 1"):
        read_records(tmp_path)
    publish(tmp_path, [{"key": "a"}, {"key": "b"}])
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"records.jsonl, line 2"):  # published as a whole: nothing may be missing
        read_records(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="nothing was evaluated here"):
        read_records(tmp_path)


def test_a_score_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Score(0.5, 0.4, 0.6, 3, 3).score = 1.0


def test_json_is_strict():
    row = {"a": math.nan, "b": [np.float64(math.inf), np.int64(3)], "c": np.array([[1.5, math.nan]]), "d": (True, None)}
    assert json.loads(to_json(row)) == {"a": None, "b": [None, 3], "c": [[1.5, None]], "d": [True, None]}


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "scores.json"
    write_atomically(file, "old")

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
