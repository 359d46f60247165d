from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from tests.tiny_training import make_data, make_module, make_trainer
from vdmfewshot.budget import memory
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.callbacks import cost as report
from vdmfewshot.callbacks.cost import CostReport, describe


def fit(tiny: Path, root: Path, folder: Path, **kwargs: Any) -> tuple[Any, Any]:
    module = make_module(tiny, **kwargs)
    trainer = make_trainer(folder, 4, callbacks=[CostReport()], logger=CSVLogger(folder, version=0))
    trainer.fit(module, datamodule=make_data(root))
    return module, trainer


def test_prediction_before_and_measurement_after(
    tiny: Path, pairs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, trainer = fit(tiny, pairs_root, tmp_path)
    printed = " ".join(capsys.readouterr().out.split())
    assert "Cost: 32 tokens a clip" in printed
    assert "Memory: nothing recomputed: needs" in printed
    assert "Measured: " in printed
    written = json.loads((Path(trainer.log_dir) / "cost.json").read_text())
    assert written["tokens"] == 32
    assert written["memory"]["checkpointing"] == "none"
    assert written["tflop_per_step"] > 0
    assert written["tflop_per_second"] * written["seconds_per_step"] == pytest.approx(written["tflop_per_step"])
    assert 0 < written["predicted_training_gb"] < 0.1
    header, *_ = (Path(trainer.log_dir) / "metrics.csv").read_text().splitlines()
    assert {"cost/tokens", "cost/seconds_per_step", "cost/measured_training_gb"} <= set(header.split(","))
    assert module.backbone.memory.checkpointing == "none"


def test_what_does_not_fit_is_recomputed(
    tiny: Path, pairs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "free_bytes", lambda device: 1e3)
    module, _ = fit(tiny, pairs_root, tmp_path)
    assert "2 of 2 blocks recomputed: needs 0.0 of 0.0 GB, which is too much" in " ".join(
        capsys.readouterr().out.split()
    )
    assert module.backbone.memory.checkpointing == "full"
    assert module.backbone.transformer.gradient_checkpointing


def test_a_prediction_alone_has_no_step(
    tiny: Path, pairs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(tmp_path, 1, callbacks=[CostReport()])
    trainer.predict(make_module(tiny), datamodule=make_data(pairs_root))
    printed = capsys.readouterr().out
    assert "TFLOP a prediction" in printed
    assert "training step" not in printed


def test_illegal_clips_are_refused_first(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nearest: 13, 17"):
        make_trainer(tmp_path, 1, callbacks=[CostReport()]).fit(
            make_module(tiny), datamodule=make_data(pairs_root, num_frames=16)
        )


def test_choices_in_words() -> None:
    args = MemoryArgs(checkpointing="segmented", recompute=0.25, quantization="fp8", offload="group")
    assert describe(args, 8) == "2 of 8 blocks recomputed, fp8 weights, weights offloaded"


def test_memory_of_this_machine_is_read() -> None:
    assert 1e8 < memory.free_bytes(torch.device("cpu")) < 1e14
    assert 1e7 < report.peak_bytes(torch.device("cpu")) < 1e13
