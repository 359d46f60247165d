"""What ``predict`` writes, and what it does not write of clips that hold NaN (fault test N2)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from tests.callbacks.tiny_task import ConvModule, SquareData
from vdmfewshot.callbacks.predictions import FAILED, Predictions, save_png
from vdmfewshot.clips.clip import ClipBatch


class PredictData(SquareData):
    predict_dataloader = SquareData.val_dataloader


class Spoilt(ConvModule):
    """Predicts; clips of some queries hold NaN, in a frame that is not the last one."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__()
        self.keys = keys

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> ClipBatch:
        found = self.validation_step(batch, batch_idx)
        assert found.generated is not None
        bad = torch.tensor([pair.key in self.keys for pair in batch.pairs])
        generated = found.generated.clone()
        generated[bad, :, 0] = torch.nan
        return replace(found, generated=generated)


def predict(folder: Path, keys: list[str]) -> dict[str, list[dict[str, Any]]]:
    trainer = Trainer(
        logger=CSVLogger(folder, name="", version=""), callbacks=[Predictions()], accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.predict(Spoilt(keys), datamodule=PredictData())
    lines = (folder / "predictions" / "predictions.jsonl").read_text().splitlines()
    return {row["key"]: row["attempts"] for row in map(json.loads, lines)}


def test_every_query_is_written(tmp_path: Path) -> None:
    rows = predict(tmp_path, [])
    assert list(rows) == [f"square-{i:02d}" for i in range(5)]
    for key, attempts in rows.items():
        assert [attempt["file"] for attempt in attempts] == [f"{key}.png", f"{key}.attempt2.png"]
        mask = cv2.imread(str(tmp_path / "predictions" / f"{key}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (28, 36)
        assert set(np.unique(mask)) <= {0, 255}
        assert (tmp_path / "predictions" / f"{key}.frame.png").is_file()


def test_nan_is_no_picture_and_has_no_confidence(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"1 of 5 queries have no answer \(square-03, \.\.\.\): non-finite"):
        rows = predict(tmp_path, ["square-03"])
    assert rows["square-03"] == [FAILED, FAILED]
    assert not list((tmp_path / "predictions").glob("square-03*"))
    assert len(list((tmp_path / "predictions").glob("*.png"))) == 4 * 3


def test_nothing_but_nan_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="5 of 5 queries have no answer"):
        predict(tmp_path, [f"square-{i:02d}" for i in range(5)])


def test_pictures_are_written_without_loss(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save_png(tmp_path / "new" / "a.png", picture)
    assert np.array_equal(cv2.imread(str(tmp_path / "new" / "a.png"))[..., ::-1], picture)
    assert [f.name for f in (tmp_path / "new").iterdir()] == ["a.png"]
