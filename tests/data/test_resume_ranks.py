"""Resumed on as many, fewer or more processes (gloo), a run goes on with the very next sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.data.folders import make_pairs
from tests.data.test_ranks import RankRecorder
from tests.data.test_stream import pairs_module

pytestmark = pytest.mark.usefixtures("meeting_port")

#: micro-batches that one optimiser step adds up, and samples of each
ACCUMULATED, BATCH = 2, 3


def fit(folder: Path, root: Path, devices: int, steps: int, ckpt_path: Path | None = None) -> list[int]:
    """Ordinals that the processes of one run have seen, in order of training."""
    strategy: dict[str, Any] = {"devices": devices, "strategy": "ddp_spawn" if devices > 1 else "auto"}
    folder.mkdir(exist_ok=True)
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, logger=False, enable_progress_bar=False, enable_model_summary=False,
        accumulate_grad_batches=ACCUMULATED, callbacks=[ModelCheckpoint(folder, save_last=True, save_top_k=0)],
        **strategy,
    )  # fmt: skip
    data = pairs_module(root, batch_size=BATCH)
    trainer.fit(RankRecorder(folder), data, ckpt_path=None if ckpt_path is None else str(ckpt_path))
    ranks = [json.loads((folder / f"train-{rank}.json").read_text()) for rank in range(devices)]
    parts = [[seen[i : i + BATCH] for i in range(0, len(seen), BATCH)] for seen in ranks]
    return [ordinal for micro_batches in zip(*parts, strict=True) for part in micro_batches for ordinal in part]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("before", "after"), [(2, 1), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((2, 2), (1, 2), (1, 1)))]
)
def test_the_order_of_samples_is_that_of_one_run(before: int, after: int, tmp_path: Path) -> None:
    root = make_pairs(tmp_path / "d", 5)
    first = fit(tmp_path / "first", root, before, steps=2)
    second = fit(tmp_path / "second", root, after, steps=5, ckpt_path=tmp_path / "first/last.ckpt")
    assert first == list(range(2 * ACCUMULATED * BATCH * before))
    assert second == list(range(len(first), len(first) + 3 * ACCUMULATED * BATCH * after)), "none twice, none left out"
