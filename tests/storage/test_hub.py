"""Names of the Hub, and whether it can be reached."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.hub_server import Hub, Repository, hub_server, use_hub
from vdmfewshot.storage.hub import HubError, HubName, download, hub_name, reachable


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize(
    ("text", "name"),
    {
        "hf:owner/name": HubName("owner/name"),
        "owner/name": HubName("owner/name"),
        "hf:o.w-n_er/na.me_2@v1.0": HubName("o.w-n_er/na.me_2", "v1.0"),
        "hf:a/b@refs/pr/1": HubName("a/b", "refs/pr/1"),
    }.items(),
)
def test_a_name_is_an_owner_a_name_and_perhaps_a_revision(text: str, name: HubName) -> None:
    assert hub_name(text) == name
    assert hub_name(str(name)) == name


@pytest.mark.parametrize(
    "text",
    ["", "hf:", "name", "hf:a/b/c", "a/", "/b", "a/b@", "a b/c", "../b", "a/..", "a/b.git", "-a/b", "a/b-", "ä/b"],
)
def test_anything_else_is_no_name(text: str) -> None:
    with pytest.raises(HubError, match="must be owner/name"):
        hub_name(text)


def test_a_server_that_answers_can_be_reached_whatever_it_says() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # knows no method: 501
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert reachable(f"http://127.0.0.1:{server.server_port}")


def test_nobody_listens() -> None:
    assert not reachable(f"http://127.0.0.1:{free_port()}")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_server() as server:
        use_hub(monkeypatch, server.url, str(tmp_path / "cache"))
        server.repositories["owner/name"] = Repository()
        server.repositories["owner/name"].commit("main", {"a.json": b"{}", "b.bin": b"pickled", "c.py": b"import os"})
        yield server


def test_only_files_that_were_asked_for_are_fetched_and_then_come_from_the_cache(hub: Hub) -> None:
    folder = download(HubName("owner/name"), ["a.json", "missing.json"])
    assert [file.name for file in folder.iterdir()] == ["a.json"]
    assert not any(word in request for request in hub.requests for word in ("b.bin", "c.py"))
    hub.broken = 503
    assert download(HubName("owner/name"), ["a.json"]) == folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (HubName("owner/other"), "there is no hf:owner/other, or it is private"),
        (HubName("owner/name", "v9"), "hf:owner/name has no branch, tag or commit 'v9'"),
    ],
)
def test_what_is_not_there_is_named(hub: Hub, name: HubName, words: str) -> None:
    with pytest.raises(HubError, match=words):
        download(name, ["a.json"])


def test_a_hub_that_is_down_says_so(hub: Hub) -> None:
    hub.broken = 503
    with pytest.raises(HubError, match="hf:owner/name is not in the cache of this machine and the Hub is out of reach"):
        download(HubName("owner/name"), ["a.json"])


def test_without_a_network_there_is_no_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    use_hub(monkeypatch, f"http://127.0.0.1:{free_port()}", str(tmp_path))
    with pytest.raises(
        HubError, match=r"out of reach; connect, unset HF_HUB_OFFLINE, or .*`hf download nobody/nothing`"
    ):
        download(HubName("nobody/nothing"), ["a.json"])
    assert "Retrying" not in capfd.readouterr().err
