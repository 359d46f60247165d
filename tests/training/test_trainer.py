from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vdmfewshot.cli.command import main
from vdmfewshot.training.trainer import native_precision


@pytest.mark.parametrize(
    ("accelerator", "capabilities", "precision"),
    [
        ("cpu", {"avx2": True, "avx512_bf16": False}, "32-true"),
        ("cpu", {"avx512_bf16": True}, "bf16-mixed"),
        ("cpu", {"amx_bf16": True}, "bf16-mixed"),
        ("cpu", {"neon": True, "bf16": True}, "bf16-mixed"),
        ("cpu", {}, "32-true"),
        ("gpu", {}, "bf16-mixed"),
    ],
)
def test_precision_is_what_the_hardware_does_fastest(
    accelerator: str, capabilities: dict[str, bool], precision: str
) -> None:
    assert native_precision(accelerator, capabilities) == precision


@pytest.mark.parametrize(("found", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_is_the_cpu_only_where_there_is_nothing_else(
    monkeypatch: pytest.MonkeyPatch, found: bool, precision: str
) -> None:
    monkeypatch.setattr(torch, "accelerator", SimpleNamespace(is_available=lambda: found))
    assert native_precision("auto", {}) == precision


@pytest.mark.parametrize("given", [[], ["--trainer.precision", "bf16-mixed"], ["--trainer.precision", "32-true"]])
def test_the_saved_configuration_names_the_precision(
    tiny: Path, pairs_root: Path, tmp_path: Path, given: list[str]
) -> None:
    cli = main(
        [
            *("fit", "--model.backbone.path", str(tiny), "--data", "PairsDataModule", "--data.root", str(pairs_root)),
            *("--data.shots", "2", "--data.height", "32", "--data.width", "32", "--trainer.max_steps", "1"),
            *("--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path), *given),
        ]
    )
    assert cli is not None
    expected = given[1] if given else native_precision("cpu")
    assert cli.trainer.precision == expected
    assert f"precision: {expected}" in (Path(cli.trainer.log_dir) / "config.yaml").read_text()
