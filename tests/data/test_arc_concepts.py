"""ConceptARC from a folder: which tasks, which answers count, what a concept scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.arc_files import task, write
from tests.metrics.samples import pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.data.arc_concepts import ConceptArcDataModule
from vdmfewshot.data.examples import DataError
from vdmfewshot.metrics.concepts import CONCEPTS, ConceptMetric, concept_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate(["Count/Count1", "Count/Count10", "Count/Count2", "TopBottom2D/TopBottom2D10"]):
        write(tmp_path / "corpus" / f"{name}.json", task(seed=seed))
    write(tmp_path / "MinimalTasks" / "CountMinimal.json", task())
    return tmp_path


def test_tasks_of_the_corpus_are_found_by_concept(root: Path) -> None:
    assert ConceptArcDataModule(str(root)).ids == ["TopBottom2D10", "Count1", "Count2", "Count10"]
    assert ConceptArcDataModule(str(root / "corpus"), concepts=["Count"]).ids == ["Count1", "Count2", "Count10"]
    data = ConceptArcDataModule(str(root), concepts=["Count"], height=64, width=64)
    data.setup()
    assert list(data.tasks) == ["Count1", "Count2", "Count10"]
    assert {part.make_metric().main for part in data.tasks.values()} == {"pass@3"}


def test_what_is_not_there_is_said(root: Path) -> None:
    with pytest.raises(ValueError, match="concepts must be of AboveBelow.*got Counting"):
        ConceptArcDataModule(str(root), concepts=["Counting"])
    with pytest.raises(DataError, match="no task of Order"):
        _ = ConceptArcDataModule(str(root), concepts=["Order"]).ids


def test_names_of_tasks_say_their_concept() -> None:
    assert [concept_of(name) for name in ("TopBottom2D10", "corpus/Copy/Copy3", "CountMinimal", "7b7f7511")] == [
        *("TopBottom2D", "Copy", "Count"),
        None,
    ]
    assert len(CONCEPTS) == 16


def test_a_concept_scores_k_of_its_inputs_and_absent_ones_nothing() -> None:
    """Two inputs of Count: right at the second answer, and never; one of Order: right at the first."""
    metric, right, wrong = ConceptMetric(), np.array([[1]]), np.array([[2]])
    votes = {"Count1": [wrong, wrong, right], "Count2": [wrong], "Order1": [right]}
    records = [
        metric.measure([Decoded(grid, 0.9) for grid in grids], pair(name, right, task=name))
        for name, grids in votes.items()
    ]
    for record in records:
        metric.update(record)
    scores = {name: float(value) for name, value in metric.compute().items()}
    concepts = {name: value for name, value in scores.items() if "/" in name}
    assert concepts == {"Count/pass@1": 0.0, "Count/pass@3": 0.5, "Order/pass@1": 1.0, "Order/pass@3": 1.0}
    assert scores["pass@3"] == pytest.approx(2 / 3)
    intervals = metric.intervals(records)
    assert intervals.keys() == scores.keys()
    count = intervals["Count/pass@3"]
    assert (round(count.low, 3), round(count.high, 3)) == (0.095, 0.905), "Wilson of 1 in 2"
