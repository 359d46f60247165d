"""A small Hugging Face Hub on loopback: what its client asks for to make, fill, list and read repositories."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_of-the-owner"


@dataclass
class Repository:
    """Branches of files; a commit is a name that a branch had."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {".gitattributes": b""}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})

    def resolve(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[digest], self.branches[branch] = files, digest
        return digest


@dataclass
class Hub:
    """What the server holds, and what it was asked for."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    #: what is wrong with every model card
    faults: list[dict[str, str]] = field(default_factory=list)
    #: status with which everything is answered, if any
    broken: int | None = None

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        found = self.repositories[repo]
        return found.commits[str(found.resolve(revision))]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def reply(self, content: Any = b"", status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str = "", message: str = "no") -> None:
        self.reply({"error": message}, status, X_Error_Code=code, X_Error_Message=message)

    @property
    def owner(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = b""
        while size := int(self.rfile.readline(), 16):
            parts += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return parts

    def handle_any(self) -> None:
        body, path = self.body(), unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.broken is not None:
            return self.fail(self.hub.broken)
        sent = self.headers.get("Authorization")
        if sent is not None and not self.owner:
            return self.fail(401, message="Invalid credentials in Authorization header")
        if path == "/api/whoami-v2":
            return self.reply({"type": "user", "name": "owner"}) if self.owner else self.fail(401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization') or 'owner'}/{asked['name']}"
            self.hub.repositories[repo] = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
            return self.reply({"url": f"{self.hub.url}/{repo}"})
        if path == "/api/validate-yaml":
            return self.reply({"errors": self.hub.faults, "warnings": []}, 400 if self.hub.faults else 200)
        if path.startswith("/upload/"):
            self.hub.uploaded[path.rpartition("/")[2]] = body
            return self.reply()
        return self.about_repository(path, body)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def about_repository(self, path: str, body: bytes) -> None:
        words = path.removeprefix("/api/models").strip("/").split("/")
        repo = "/".join(words[:2]).removesuffix(".git")
        found = self.hub.repositories.get(repo)
        if found is None or (found.private and not self.owner):
            return self.fail(*((404, "RepoNotFound") if self.owner else (401, "RepoNotFound")))
        what, rest = (words[2] if len(words) > 2 else "revision"), words[3:]
        if what == "info":
            return self.large_files(json.loads(body))
        if what == "branch":
            found.branches.setdefault(rest[0], found.branches["main"])
            return self.reply({})
        revision = rest[0] if rest else "main"
        commit = found.resolve(revision)
        if commit is None:
            return self.fail(404, "RevisionNotFound")
        files = found.commits[commit]
        if what == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self.reply({"id": repo, "sha": commit, "private": found.private, "siblings": siblings})
        if what == "tree":
            return self.reply([entry(name, content) for name, content in files.items()])
        if what == "preupload":
            asked = json.loads(body)["files"]
            modes = {f["path"]: "lfs" if f["path"].endswith(".safetensors") else "regular" for f in asked}
            return self.reply(
                {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]}
            )
        if what == "commit":
            return self.take_commit(repo, found, revision, dict(files), body)
        name = "/".join(rest[1:])
        if name not in files:
            return self.fail(404, "EntryNotFound")
        digest = hashlib.sha256(files[name]).hexdigest()
        return self.reply(files[name], ETag=f'"{digest}"', X_Repo_Commit=commit)

    def large_files(self, asked: Any) -> None:
        address = f"{self.hub.url}/upload/"
        objects = [{**o, "actions": {"upload": {"href": address + o["oid"]}}} for o in asked["objects"]]
        self.reply({"transfer": "basic", "objects": objects})

    def take_commit(self, repo: str, found: Repository, branch: str, files: dict[str, bytes], body: bytes) -> None:
        if not self.owner:
            return self.fail(403)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploaded[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = found.commit(branch, files)
        return self.reply({"commitUrl": f"{self.hub.url}/{repo}/commit/{commit}", "commitOid": commit})


def entry(name: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": name, "size": len(content), "oid": blob}


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()
    handler = type("HandlerOfOneHub", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def use_hub(patch: pytest.MonkeyPatch, url: str, cache: str, token: str | None = TOKEN) -> None:
    """Point this process's client of the hub at a server, with a cache and a login of its own."""
    from huggingface_hub import constants

    patch.setattr(constants, "ENDPOINT", url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_HUB_CACHE", cache)
    patch.setattr(constants, "HF_TOKEN_PATH", f"{cache}/no-token")
    patch.delenv("HF_TOKEN", raising=False)
    patch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)
