"""Checkpoints on the hub, where there is no hub."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from vdmfewshot.backbones import checkpoint


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_server_that_answers_can_be_reached_whatever_it_says() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # knows no method: 501
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert checkpoint.reachable(f"http://127.0.0.1:{server.server_port}")


def test_nobody_listens() -> None:
    assert not checkpoint.reachable(f"http://127.0.0.1:{free_port()}")


def test_without_a_network_a_hub_id_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(FileNotFoundError, match="cannot read transformer/config.json of 'nobody/nothing' from the hub"):
        checkpoint.Checkpoint("nobody/nothing").config("transformer")
    assert "Retrying" not in capfd.readouterr().err
