"""Latents are there before the first step, and a second process does not touch the VAE."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tests.tiny_training import adapter_weights, make_data, make_module, make_trainer
from vdmfewshot.callbacks.latents import EncodeAhead

SCRIPT = """
import sys
from pathlib import Path
from tests.callbacks.test_latents import train
counter = train(*map(Path, sys.argv[1:]))
print("encoded", counter.encoded)
"""


def train(tiny: Path, root: Path, folder: Path, cache: Path) -> Counter:
    counter = Counter()
    trainer = make_trainer(folder, 12, callbacks=[counter, EncodeAhead(always=True)], limit_val_batches=0)
    trainer.fit(make_module(tiny, cache_dir=str(cache)), datamodule=data(root))
    return counter


def data(root: Path, **kwargs: Any) -> Any:
    return make_data(root, **{"target": "mask", "variants": 3, **kwargs})


class Counter(Callback):
    """Counts clips that the VAE encodes, before the first step and in steps."""

    def __init__(self) -> None:
        self.encoded = self.while_training = 0
        self.stepping = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.backbone.vae.encoder.register_forward_hook(self.count)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.stepping = True

    def count(self, *_: Any) -> None:
        self.encoded += 1
        self.while_training += self.stepping


@pytest.fixture(scope="module")
def masks_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np
    from PIL import Image

    root, rng = tmp_path_factory.mktemp("masks"), np.random.default_rng(0)
    for i, split in enumerate(["train", "train", "train", "val"]):
        image = np.kron(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        mask = (image[..., 0] > 127).astype(np.uint8) * 255
        for name, picture in (("input", image), ("target", mask)):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(root / split / name / f"p{i}.png")
    return root


def test_a_second_process_does_not_touch_the_vae(tiny: Path, masks_root: Path, tmp_path: Path) -> None:
    first = train(tiny, masks_root, tmp_path / "first", tmp_path / "cache")
    files = len(list((tmp_path / "cache").rglob("*.safetensors")))
    assert files == 3 * 3, "three pairs in three variants"
    assert first.encoded > files
    assert first.while_training == 0, "all of it before the first step"
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = [tmp_path / "script.py", tiny, masks_root, tmp_path / "second", tmp_path / "cache"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "encoded 0" in done.stdout


def test_only_what_the_run_shows_is_encoded(tiny: Path, masks_root: Path, tmp_path: Path) -> None:
    module = make_module(tiny)
    make_trainer(tmp_path, 2, callbacks=[EncodeAhead(always=True)]).fit(
        module, datamodule=data(masks_root, batch_size=2)
    )
    assert module._cache is not None
    assert len(module._cache) == 4


def test_encoding_ahead_changes_no_bit(tiny: Path, masks_root: Path, tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [EncodeAhead(always=True)]):
        module = make_module(tiny)
        make_trainer(tmp_path, 3, callbacks=callbacks).fit(module, datamodule=data(masks_root))
        weights.append(adapter_weights(module))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_on_a_cpu_the_first_step_waits_for_its_own_clips_alone(tiny: Path, masks_root: Path, tmp_path: Path) -> None:
    counter, module = Counter(), make_module(tiny)
    trainer = make_trainer(tmp_path, 3, callbacks=[counter, EncodeAhead()], limit_val_batches=0)
    trainer.fit(module, datamodule=data(masks_root))
    assert counter.encoded == counter.while_training > 0


class Places(Callback):
    """Where the encoders are asked to be, in order."""

    def __init__(self, module: Any) -> None:
        self.calls: list[str] = []
        self.move = module.backbone.move_encoders
        module.backbone.move_encoders = self.record

    def record(self, device: Any) -> None:
        self.calls.append(str(device))
        self.move(device)


def test_encoders_leave_before_steps_and_return_for_validation(
    tiny: Path, masks_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU they stay where they are; the order of calls is that of any device."""
    from vdmfewshot.training.module import FewShotModule

    monkeypatch.setattr(FewShotModule, "device", torch.device("cpu:0"))
    module = make_module(tiny)
    places = Places(module)
    trainer = make_trainer(tmp_path, 2, callbacks=[places, EncodeAhead(always=True)], val_check_interval=1)
    trainer.fit(module, datamodule=data(masks_root))
    trainer.validate(module, datamodule=data(masks_root), verbose=False)
    assert places.calls == ["cpu", "cpu:0", "cpu", "cpu:0", "cpu", "cpu:0"], "start, two validations in fit, one alone"
