from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from tests.callbacks.tiny_task import FRAMES, ConvModule, SquareData
from vdmfewshot.callbacks import visuals
from vdmfewshot.callbacks.loggers import ResilientWandbLogger
from vdmfewshot.callbacks.panel import GAP, LINE, TILE
from vdmfewshot.callbacks.visuals import Visuals


def trainer(folder, callback, **kwargs):
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    defaults = {"accelerator": "cpu", "devices": 1, "default_root_dir": folder, "callbacks": [callback]}
    return Trainer(**(dict.fromkeys(quiet, False) | defaults | kwargs))


def module(**kwargs):
    torch.manual_seed(0)
    return ConvModule(**kwargs)


def tile(sheet, row, column):
    top, left = GAP + LINE + row * (TILE + GAP + LINE) + LINE, GAP + column * (TILE + GAP)
    return sheet[top : top + TILE, left : left + TILE]


def test_panel_and_clips_of_a_test(tmp_path):
    trainer(tmp_path, Visuals(max_samples=3)).test(module(), SquareData(), verbose=False)
    folder = tmp_path / "pictures/test"
    sheet = np.asarray(Image.open(folder / "step=0.png"))
    assert sheet.shape == (LINE + GAP + 3 * (TILE + GAP + LINE), 5 * (TILE + GAP) + GAP, 3)
    pair = SquareData().pairs[0]
    truth = tile(sheet, 0, 3)[: round(TILE * 28 / 36)]  # sources are 28 x 36
    white = (truth == 255).all(axis=2).mean()
    assert white == pytest.approx(pair.target.mean(), abs=0.02)
    assert sorted(p.name for p in (folder / "step=0").iterdir()) == [
        f"square-0{i}{suffix}" for i in range(3) for suffix in (".gif", ".png")
    ]
    assert np.array_equal(
        np.asarray(Image.open(folder / "step=0/square-00.png"))[:, 3 * (TILE + GAP) :][: len(truth), :TILE], truth
    )
    with Image.open(folder / "step=0/square-00.gif") as clip:
        assert clip.size == (TILE, TILE)
        first = np.asarray(clip.convert("RGB")).astype(float)
        clip.seek(FRAMES - 1)
        last = np.asarray(clip.convert("RGB")).astype(float)
        duration = clip.info["duration"]
    assert duration >= 1000 / 8  # identical frames are merged into one that lasts
    generated = tile(sheet, 0, 1).astype(float)
    assert np.abs(last - generated).mean() < 12  # GIF has 256 colours
    assert np.abs(first - generated).mean() > 30


def test_every_second_validation_and_no_sanity_check(tmp_path):
    callback = Visuals(max_samples=2, every_n_validations=2)
    fit = trainer(tmp_path, callback, max_epochs=3, num_sanity_val_steps=1, log_every_n_steps=1)
    fit.fit(module(), SquareData(n=2))
    assert sorted(p.name for p in (tmp_path / "pictures/val").glob("*.png")) == ["step=1.png", "step=3.png"]


def test_pictures_reach_wandb(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    logger = ResilientWandbLogger(save_dir=tmp_path, offline=True)
    trainer(tmp_path, Visuals(max_samples=2), logger=logger).test(module(), SquareData(n=2), verbose=False)
    logger.experiment.finish()
    media = [p.name for p in tmp_path.glob("wandb/offline-run-*/files/media/**/*") if p.is_file()]
    assert sum(name.endswith(".png") for name in media) == 1
    assert sum(name.endswith(".gif") for name in media) == 2


def test_drawing_failure_is_a_warning(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(visuals, "save_gif", full)
    with pytest.warns(UserWarning, match="pictures are skipped: disk full"):
        trainer(tmp_path, Visuals()).test(module(), SquareData(n=2), verbose=False)


def test_one_bad_sample_does_not_take_the_others_along(tmp_path):
    class Moody(SquareData):
        def decode(self, frame, pair):
            if pair.key == "square-00":
                raise RuntimeError("cannot read this")
            return self.codec.decode(frame, self.box(pair))

    trainer(tmp_path, Visuals(max_samples=2)).test(module(spoil="square-01"), Moody(n=2), verbose=False)
    sheet = np.asarray(Image.open(tmp_path / "pictures/test/step=0.png"))
    paper = sheet[-1, -1]
    assert (tile(sheet, 0, 2) == paper).all()
    assert not (tile(sheet, 0, 1) == paper).all()
    assert not (tile(sheet, 1, 2) == paper).all()


def test_arguments_are_checked():
    for arguments in ({"max_samples": 0}, {"every_n_validations": 0}, {"fps": 0}, {"fps": 100}):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
            Visuals(**arguments)
