from __future__ import annotations

import os
import socket
import time

import pytest
import torch
import wandb
from lightning.pytorch import Trainer

from tests.callbacks.tiny_task import ConvModule, SquareData
from vdmfewshot.callbacks.loggers import ResilientWandbLogger


@pytest.fixture(autouse=True)
def _fresh_wandb(monkeypatch, tmp_path):
    wandb.teardown()  # whose address in the environment must not come back
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no stored key
    yield
    wandb.finish()
    wandb.teardown()


def fit(folder, logger):
    torch.manual_seed(0)
    model = ConvModule()
    trainer = Trainer(
        accelerator="cpu", devices=1, default_root_dir=folder, logger=logger, max_epochs=3, log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, SquareData(n=2))
    assert trainer.global_step == 3
    return model


def offline_runs(folder):
    return list(folder.glob("wandb/offline-run-*/*.wandb"))


@pytest.fixture
def _no_calls(monkeypatch):
    """A server that W&B knows of and must not call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.usefixtures("_no_calls")
@pytest.mark.parametrize("how", ["argument", "mode", "environment"])
def test_offline_run_is_written(tmp_path, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("WANDB_MODE", "offline")
    options = {"argument": {"offline": True}, "mode": {"mode": "offline"}, "environment": {}}[how]
    fit(tmp_path, ResilientWandbLogger(project="p", save_dir=tmp_path / "new", **options))
    wandb.finish()
    (run,) = offline_runs(tmp_path / "new")
    assert run.stat().st_size > 0
    if how != "environment":
        assert "WANDB_MODE" not in os.environ  # stock WandbLogger would leak it into every later run


@pytest.mark.usefixtures("_no_calls")
@pytest.mark.parametrize("how", ["mode", "environment"])
def test_disabled_leaves_nothing(tmp_path, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    fit(tmp_path, ResilientWandbLogger(save_dir=tmp_path, mode="disabled" if how == "mode" else None))
    assert not list(tmp_path.glob("wandb/*run-*"))


def test_unreachable_server_means_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    started = time.monotonic()
    with pytest.warns(UserWarning, match="W&B cannot start a run, going offline"):
        fit(tmp_path, ResilientWandbLogger(save_dir=tmp_path, mode="online", init_timeout=1))
    assert time.monotonic() - started < 30
    wandb.finish()
    assert offline_runs(tmp_path)


def test_the_offline_run_has_the_id_of_the_one_that_could_not_start(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    asked, init = [], wandb.init

    def noted(*args, **kwargs):
        asked.append((kwargs["mode"], kwargs["id"]))
        return init(*args, **kwargs)

    monkeypatch.setattr(wandb, "init", noted)
    logger = ResilientWandbLogger(save_dir=tmp_path, mode="online", init_timeout=1)
    with pytest.warns(UserWarning, match="going offline"):
        run = logger.experiment
    (online, first), (offline, second) = asked
    assert (online, offline) == ("online", "offline")
    assert first == second == run.id
    wandb.finish()
    (file,) = offline_runs(tmp_path)
    assert file.name == f"run-{first}.wandb"


def test_no_key_means_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.warns(UserWarning, match="going offline"):
        fit(tmp_path, ResilientWandbLogger(save_dir=tmp_path, mode="online"))


def test_training_does_not_depend_on_wandb_at_all(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(wandb, "init", broken)
    with pytest.warns(UserWarning, match="W&B") as caught:
        model = fit(tmp_path, ResilientWandbLogger(save_dir=tmp_path))
    messages = [str(w.message) for w in caught]
    assert sum("going offline" in message for message in messages) == 1
    assert sum("nothing is logged" in message for message in messages) == 1
    reference = fit(tmp_path, False)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))


def test_failure_while_logging_warns_once(tmp_path, monkeypatch):
    logger = ResilientWandbLogger(save_dir=tmp_path, mode="offline")

    def broken(*args, **kwargs):
        raise BrokenPipeError("the service process died")

    monkeypatch.setattr(type(logger.experiment), "log", broken)
    with pytest.warns(UserWarning, match="W&B") as caught:
        fit(tmp_path, logger)
    messages = [str(w.message) for w in caught if "W&B" in str(w.message)]
    assert messages == ["W&B log_metrics failed and is skipped (BrokenPipeError: the service process died)"]
    with pytest.warns(UserWarning, match="W&B log_image failed"):
        logger.log_image("pictures", [str(tmp_path / "missing.png")])


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match="contradicts mode: online"):
        ResilientWandbLogger(offline=True, mode="online")
    with pytest.raises(ValueError, match="1 to 30 seconds, got 90"):
        ResilientWandbLogger(init_timeout=90)
