"""The W&B key goes to the server of the environment, and a configuration from elsewhere cannot name another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from vdmfewshot.callbacks.loggers import LOCAL_SETTINGS, ResilientWandbLogger, refuse_local_settings

ROOT = Path(__file__).parents[2]
KEY = "c0ffee" * 6 + "cafe"
TOKEN = "hf_" + "canaryCANARY" * 3


class Listener(ThreadingHTTPServer):
    """Keeps what it is sent and refuses it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.heard.append(f"{self.path} {self.headers} {body!r}")
        self.send_response(401)
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def listening() -> Iterator[Listener]:
    with Listener() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def command(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line as a user starts it, with secrets in the environment."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    secrets = {"WANDB_API_KEY": KEY, "HF_TOKEN": TOKEN, "HOME": str(folder.parent), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "vdmfewshot", *args],
        cwd=folder, env={**clean, **secrets, **environment}, capture_output=True, text=True,
    )  # fmt: skip


#: logger → what the person is told
THIEVES = {
    "{class_path: lightning.pytorch.loggers.WandbLogger, init_args: {dict_kwargs: {settings: {base_url: 'URL'}}}}": (
        "cannot be named in a configuration"
    ),
    "{class_path: ResilientWandbLogger, init_args: {mode: online}, dict_kwargs: {settings: {base_url: 'URL'}}}": (
        "dict_kwargs are not accepted"
    ),
    "{class_path: ResilientWandbLogger, init_args: {mode: online, settings: {base_url: 'URL'}}}": "settings",
    "{class_path: lightning.pytorch.loggers.MLFlowLogger, init_args: {tracking_uri: 'URL'}}": "cannot be named",
}


FIRST, *OTHERS = THIEVES


@pytest.mark.parametrize(
    "logger", [FIRST, "local settings", *(pytest.param(logger, marks=pytest.mark.slow) for logger in OTHERS)]
)
def test_nothing_arrives_at_a_server_that_files_name(logger: str, tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with listening() as server:
        text = logger.replace("URL", server.url)
        if logger == "local settings":
            (tmp_path / "work/wandb").mkdir()
            (tmp_path / "work/wandb/settings").write_text(f"[default]\nbase_url = {server.url}\n")
            text = "{class_path: ResilientWandbLogger, init_args: {mode: online, init_timeout: 2}}"
        (tmp_path / "work/c.yaml").write_text(f"trainer: {{logger: {text}}}")
        sized = ["--data.height=32", "--data.width=32", f"--model.backbone.path={tiny}", "--trainer.max_steps=1"]
        data = ["--data=PairsDataModule", f"--data.root={pairs_root}", "--data.shots=4", "--trainer.accelerator=cpu"]
        done = command(tmp_path / "work", "fit", *data, *sized, "-c", "c.yaml")
        assert server.heard == []
    assert done.returncode != 0
    assert "error: " in done.stderr
    assert THIEVES.get(logger, "which can send your W&B key elsewhere") in done.stderr
    assert "Traceback" not in done.stderr


def test_the_listener_hears_what_is_sent(tmp_path: Path) -> None:
    """The test above can fail: a server that the environment names does get the key."""
    logger = "ResilientWandbLogger(mode='online', init_timeout=2)"
    code = f"from vdmfewshot.callbacks.loggers import ResilientWandbLogger; {logger}.experiment"
    with listening() as server:
        environment = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}
        environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True)
        assert server.heard


def test_secrets_of_the_environment_are_in_no_file_of_a_run(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    done = command(
        tmp_path / "work", "adapt",
        *("--data=PairsDataModule", f"--data.root={pairs_root}", "--data.shots=4", "--trainer.accelerator=cpu"),
        *("--data.height=32", "--data.width=32", f"--model.backbone.path={tiny}", "--trainer.max_steps=1"),
        *("--model.sampling.steps=1", "--trainer.logger=ResilientWandbLogger", "--trainer.logger.mode=offline"),
        VERY_SECRET_PASSWORD="canary-of-the-environment",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.suffix == ".wandb" for file in files)
    assert any(file.name == "config.yaml" for file in files)
    said = [done.stdout.encode(), done.stderr.encode(), *(file.read_bytes() for file in files)]
    for secret in (KEY, TOKEN, "canary-of-the-environment"):
        assert not any(secret.encode() in text for text in said)


@pytest.mark.parametrize("folder", ["wandb", ".wandb"])
@pytest.mark.parametrize(
    "line", ["base_url = http://x", "https_proxy = http://x", "api_key = x", "identity_token_file = x"]
)
def test_settings_beside_the_file_cannot_say_where(folder: str, line: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "settings").write_text(f"[default]\nproject = p\n{line}\n")
    with pytest.raises(ValueError, match=f"{line.split()[0]}, which can send your W&B key elsewhere"):
        refuse_local_settings(tmp_path)


def test_settings_that_wandb_itself_writes_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/settings").write_text("[default]\n" + "".join(f"{key} = false\n" for key in LOCAL_SETTINGS))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    ResilientWandbLogger(mode="disabled")


@pytest.mark.parametrize("text", ["no section = 1", "[default", "\ufffe\x00"])
def test_settings_that_cannot_be_read_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb/settings").write_text(text)
    with pytest.raises(ValueError, match="is no settings file of W&B"):
        refuse_local_settings(tmp_path)
