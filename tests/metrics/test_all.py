"""What every metric owes: exact sync, honest treatment of missing results, serialisable records, intervals."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.metrics.samples import CASES, records, score

N = 7
#: an odd number of samples; and one, of which the second process has none
SIZES = (N, 1)


def _score_shard(rank: int, world: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    for name, n in itertools.product(CASES, SIZES):
        metric = CASES[name][0]()
        for row in records(name, n)[rank::world]:
            metric.update(row)
        synced = {key: float(value) for key, value in metric.compute().items()}
        Path(folder, f"{name}.{n}.{rank}.json").write_text(json.dumps(synced))
    dist.destroy_process_group()


def test_two_processes_score_as_one(tmp_path):
    mp.spawn(_score_shard, args=(2, str(tmp_path)), nprocs=2)
    for name, n in itertools.product(CASES, SIZES):
        alone = score(CASES[name][0](), records(name, n))
        for rank in range(2):
            synced = json.loads((tmp_path / f"{name}.{n}.{rank}.json").read_text())
            assert synced.keys() == alone.keys()
            for key, value in alone.items():
                assert synced[key] == pytest.approx(value, abs=1e-7, nan_ok=True), (name, key)


@pytest.mark.parametrize("name", CASES)
def test_records_survive_json_and_order_does_not_matter(name):
    rows = records(name, N)
    restored = json.loads(json.dumps(rows, allow_nan=False))
    make = CASES[name][0]
    assert score(make(), restored) == pytest.approx(score(make(), rows), nan_ok=True, abs=0)
    assert score(make(), rows[::-1]) == pytest.approx(score(make(), rows), nan_ok=True, abs=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(5))
def test_missing_results_never_raise_a_score(name, seed):
    make, sample = CASES[name]
    full = records(name, 20, seed)
    rng = np.random.default_rng(seed)
    pairs = [sample(rng, i)[0] for i in range(20)]
    lost = full.copy()
    for i in np.random.default_rng(100 + seed).choice(20, size=2, replace=False):
        lost[i] = {"key": pairs[i].key, **make().measure([], pairs[i])}
    before, after = score(make(), full), score(make(), lost)
    for key in before:
        if key == "rpl":  # of those with a path only, as published: losing a short one raises it
            continue
        if key == "mae":
            assert after[key] >= before[key]
        elif not math.isnan(before[key]):
            assert after[key] <= before[key] + 1e-12, key


@pytest.mark.parametrize("name", CASES)
def test_nothing_predicted_scores_zero(name):
    make, sample = CASES[name]
    rng = np.random.default_rng(0)
    rows = [make().measure([], sample(rng, i)[0]) for i in range(3)]
    scores = score(make(), rows)
    assert math.isnan(scores.pop("rpl", math.nan))
    assert all(value == 0 for key, value in scores.items() if key != "mae"), scores
    assert scores.get("mae", 1.0) == 1.0
    assert all(row["failure"] for row in rows)


@pytest.mark.parametrize("name", CASES)
def test_the_direction_of_a_metric_tells_the_truth_from_nothing(name):
    make, sample = CASES[name]
    truth, attempts = sample(np.random.default_rng(0), 0)
    right, wrong = (
        score(make(), [make().measure(answers, truth)])[make().main]
        for answers in ([type(attempts[0])(truth.target, 0.9)], [])
    )
    assert (right > wrong) == make().higher_is_better


@pytest.mark.parametrize("name", CASES)
def test_truth_predicted_scores_best(name):
    make, sample = CASES[name]
    rng = np.random.default_rng(0)
    rows = []
    for i in range(4):
        truth, attempts = sample(rng, i)
        rows.append(make().measure([type(attempts[0])(truth.target, 0.9)], truth))
    scores = score(make(), rows)
    best = {"psnr_db": 100.0, "mae": 0.0}
    assert scores == pytest.approx({key: best.get(key, 1.0) for key in scores})


@pytest.mark.parametrize("name", CASES)
def test_intervals_bracket_the_score(name):
    rows = records(name, 30)
    metric = CASES[name][0]()
    scores, intervals = score(metric, rows), metric.intervals(rows)
    assert scores.keys() == intervals.keys()
    for key, value in scores.items():
        assert intervals[key].low <= value <= intervals[key].high, key
    assert metric.intervals(rows) == intervals


@pytest.mark.parametrize("name", CASES)
def test_no_samples_is_undefined_not_perfect(name):
    metric = CASES[name][0]()
    with pytest.warns(UserWarning, match="before the ``update``"):
        scores = metric.compute()
    assert all(math.isnan(value) for value in scores.values())
    assert metric.intervals([]).keys() == scores.keys()


@pytest.mark.parametrize("name", CASES)
def test_metric_is_an_ordinary_torchmetric(name):
    metric = CASES[name][0]()
    rows = records(name, 3)
    for row in rows:
        metric.update(row)
    restored = pickle.loads(pickle.dumps(metric))
    assert score(restored, rows) == pytest.approx(score(metric.clone(), rows), nan_ok=True, abs=0)
    assert metric.main in metric.compute()
    assert metric.state_dict() == {}
    assert metric.sums.dtype == torch.float64
