from __future__ import annotations

import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment

from tests.runs import options, run
from vdmfewshot.cli.command import main
from vdmfewshot.training.trainer import FewShotTrainer, native_precision


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


SLURM = {
    "SLURM_NTASKS": "1",
    "SLURM_JOB_NAME": "fit",
    "SLURM_JOB_ID": "4242",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}


def test_under_slurm_a_checkpoint_in_the_working_folder_is_not_continued(
    tiny: Path, pairs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning would restore ``hpc_ckpt_1.ckpt``, find that its steps are done, and train nothing."""
    for name, value in {**SLURM, "SLURM_NODELIST": "127.0.0.1", "SLURM_NODEID": "0"}.items():
        monkeypatch.setenv(name, value)
    args = [*options(tiny, tmp_path, pairs_root), "--trainer.log_every_n_steps", "1"]
    run("fit", *args, "--name", "first")
    shutil.copy(tmp_path / "first/version_0/checkpoints/last.ckpt", tmp_path / "hpc_ckpt_1.ckpt")
    second = run("fit", *args, "--name", "second")
    cluster = second.trainer._accelerator_connector.cluster_environment
    assert isinstance(cluster, SLURMEnvironment)
    assert not cluster.auto_requeue
    assert second.trainer.ckpt_path is None
    losses = [(tmp_path / name / "version_0/metrics.csv").read_text().splitlines()[1:] for name in ("first", "second")]
    assert len(losses[0]) == len(losses[1]) >= 2, "as many steps as without the file"


def test_a_slurm_environment_in_a_file_does_not_requeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    trainer = FewShotTrainer(plugins=[SLURMEnvironment(auto_requeue=True)], accelerator="cpu", logger=False)
    handler = signal.getsignal(signal.SIGUSR1)
    trainer._signal_connector.register_signal_handlers()
    assert signal.getsignal(signal.SIGUSR1) == handler
    trainer._signal_connector.teardown()
