"""Random but seeded predictions and truths for every metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics import ArcMetric, ImageMetric, PoseMetric, RouteMetric, SegmentationMetric, TaskMetric

BLANK = np.zeros((4, 4, 3), dtype=np.uint8)


def pair(key: str, target: Any, **meta: Any) -> Pair:
    return Pair(key, BLANK, target, meta)


def masks(rng: np.random.Generator, i: int, classes: int = 2) -> tuple[Pair, list[Decoded[Any]]]:
    truth = rng.integers(0, classes, (9, 11)).astype(np.uint8)
    predicted = np.where(rng.random((9, 11)) < 0.7, truth, rng.integers(0, classes, (9, 11))).astype(np.uint8)
    truth[rng.random((9, 11)) < 0.1] = 255
    return pair(f"s{i}", truth), [Decoded(predicted, 1.0)]


def label_maps(rng: np.random.Generator, i: int) -> tuple[Pair, list[Decoded[Any]]]:
    return masks(rng, i, classes=4)


def people(rng: np.random.Generator, i: int) -> tuple[Pair, list[Decoded[Any]]]:
    truth = np.c_[rng.uniform(0, 90, (17, 2)), rng.integers(0, 3, 17)]
    truth[0, 2] = 2
    noise = rng.normal(0, 16 * rng.random(), (17, 2))
    return pair(f"p{i}", truth, area=3000.0 + 100 * i), [
        Decoded(np.c_[truth[:, :2] + noise, np.ones(17)], rng.random())
    ]


def grids(rng: np.random.Generator, i: int) -> tuple[Pair, list[Decoded[Any]]]:
    truth = rng.integers(0, 3, (2, 2))
    attempts = [Decoded(np.where(rng.random((2, 2)) < 0.7, truth, 0), float(rng.random())) for _ in range(5)]
    return pair(f"g{i}", truth, task=f"t{i // 2}"), attempts


def routes(rng: np.random.Generator, i: int) -> tuple[Pair, list[Decoded[Any]]]:
    truth = np.array([[3, 4, 2], [1, 1, 1]])
    drawn = [truth, np.array([[3, 1, 2], [4, 4, 4]]), rng.integers(0, 5, (2, 3))][i % 3]
    return pair(f"r{i}", truth), [Decoded(drawn, float(rng.random()))]


def images(rng: np.random.Generator, i: int) -> tuple[Pair, list[Decoded[Any]]]:
    truth = rng.integers(0, 256, (24, 20, 3)).astype(np.uint8)
    predicted = np.clip(truth + rng.normal(0, 20, truth.shape), 0, 255).astype(np.float32)
    return pair(f"i{i}", truth), [Decoded(predicted, 1.0)]


CASES: dict[str, tuple[Callable[[], TaskMetric], Callable[..., tuple[Pair, list[Decoded[Any]]]]]] = {
    "mask": (SegmentationMetric, masks),
    "label_map": (lambda: SegmentationMetric(4), label_maps),
    "pose": (PoseMetric, people),
    "arc": (ArcMetric, grids),
    "image": (ImageMetric, images),
    "route": (RouteMetric, routes),
}


def records(name: str, n: int, seed: int = 0) -> list[dict[str, Any]]:
    make, sample = CASES[name]
    rng = np.random.default_rng(seed)
    pairs = [sample(rng, i) for i in range(n)]
    return [{"key": p.key, **make().measure(attempts, p)} for p, attempts in pairs]


def score(metric: TaskMetric, rows: list[dict[str, Any]]) -> dict[str, float]:
    metric.reset()
    for row in rows:
        metric.update(row)
    return {name: float(value) for name, value in metric.compute().items()}
