"""What the verb refuses before there is a page."""

from __future__ import annotations

import importlib.util

import pytest

from vdmfewshot.cli.app import app
from vdmfewshot.cli.errors import Mistake


def test_without_gradio_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Mistake, match=r"pip install 'vdmfewshot\[app\]'"):
        app([])


def test_a_port_is_a_port() -> None:
    with pytest.raises(Mistake, match="--port must be 1 to 65535, got 99999"):
        app(["--port", "99999"])


def test_the_command_of_the_documentation_parses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        app(["--no_browser", "--port", "8000", "--help"])
    assert stop.value.code == 0
    assert "this machine alone" in " ".join(capsys.readouterr().out.split())
