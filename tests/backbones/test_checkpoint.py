"""Checkpoints on the hub, where there is no hub."""

from __future__ import annotations

import socket

import pytest

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
