"""Checkpoints on the hub, where there is no hub."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from transformers import T5Config, T5EncoderModel

from vdmfewshot.backbones import checkpoint


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_without_a_network_a_hub_id_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(FileNotFoundError, match="cannot read transformer/config.json of 'nobody/nothing' from the hub"):
        checkpoint.Checkpoint("nobody/nothing").config("transformer")
    assert "Retrying" not in capfd.readouterr().err


def test_a_text_encoder_is_read_without_a_bar_and_the_switches_are_put_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    T5EncoderModel(T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(
        tmp_path / "text_encoder"
    )
    T5EncoderModel.from_pretrained(tmp_path / "text_encoder")
    assert "Loading weights" in capfd.readouterr().err, "or there is nothing to silence"
    checkpoint.Checkpoint(str(tmp_path)).model(T5EncoderModel, "text_encoder", torch.float32)
    assert "Loading weights" not in capfd.readouterr().err
    T5EncoderModel.from_pretrained(tmp_path / "text_encoder")
    assert "Loading weights" in capfd.readouterr().err
