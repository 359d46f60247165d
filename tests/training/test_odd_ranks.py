"""Queries that processes cannot share out evenly: each is answered once, as one process answers it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("meeting_port")

#: queries of six pairs, by their shots
QUERIES = {1: 5, 5: 1}
#: ``test`` and ``predict`` of the frozen model, for each number of shots
SCRIPT = """
import sys
from pathlib import Path
from tests.tiny_training import make_data, make_module, make_trainer
from vdmfewshot.callbacks.predictions import Predictions
from vdmfewshot.callbacks.scorer import Scorer
from vdmfewshot.training.sharding import ShardedStrategy

tiny, roots, folder = map(Path, sys.argv[1:4])
kind, devices, shots = sys.argv[4], int(sys.argv[5]), map(int, sys.argv[6:])
if __name__ == "__main__":
    for n in shots:
        strategy = {"one": "auto", "ddp": "ddp", "sharded": ShardedStrategy()}[kind]
        callbacks = [Scorer(show=False), Predictions()]
        trainer = make_trainer(folder / str(n), 1, strategy=strategy, devices=devices, callbacks=callbacks)
        module, data = make_module(tiny), make_data(roots, shots=n, eval_batch_size=2)
        trainer.test(module, datamodule=data, verbose=False)
        trainer.predict(module, datamodule=data, return_predictions=False)
"""


@pytest.fixture(scope="module")
def answers(tiny: Path, pairs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs ``SCRIPT``, once for each kind; the folder of what it has written."""
    done: dict[str, Path] = {}

    def run(kind: str, devices: int) -> Path:
        if kind not in done:
            folder = done[kind] = tmp_path_factory.mktemp(kind)
            (folder / "script.py").write_text(SCRIPT)
            env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, folder / "script.py", tiny, pairs_root, folder, kind, devices, *QUERIES]
            ended = subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True, timeout=1800)
            assert ended.returncode == 0, ended.stderr[-3000:]
        return done[kind]

    return run


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def picture(file: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(file)))


def timeless(scores: dict[str, Any]) -> dict[str, Any]:
    return {name: {key: value for key, value in row.items() if key != "seconds"} for name, row in scores.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "sharded"])
@pytest.mark.parametrize("shots", QUERIES)
def test_three_processes_answer_every_query_once_as_one_does(kind: str, shots: int, answers: Any) -> None:
    one, three = (answers(name, n) / str(shots) for name, n in (("one", 1), (kind, 3)))
    scores = [folder / "scores/test/step=0" for folder in (one, three)]
    for name in ("records.jsonl", "samples.jsonl"):
        expected, found = (lines(folder / name) for folder in scores)
        assert len(expected) == QUERIES[shots]
        assert found == expected, "none twice, none left out, to the last bit"
    expected, found = (timeless(json.loads((folder / "scores.json").read_text())["scores"]) for folder in scores)
    assert found == expected
    predicted = [lines(folder / "predictions/predictions.jsonl") for folder in (one, three)]
    assert [row["key"] for row in predicted[0]] == [row["key"] for row in predicted[1]]
    pictures = sorted((one / "predictions").rglob("*.png"))
    assert len(pictures) == 2 * len(predicted[0]), "an answer and a frame of each"
    for file in pictures:
        assert np.array_equal(picture(three / file.relative_to(one)), picture(file)), file.name
