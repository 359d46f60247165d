"""The Hugging Face Hub: its names, what is read from it, and what it says if it cannot be, in words."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

#: before the name of a repository, where a folder could stand, too
PREFIX = "hf:"
#: seconds within which the hub answers, or counts as out of reach
PATIENCE = 10
#: libraries that the hub's client, in one release or another, speaks HTTP with; their errors are not Python's own
TRANSPORTS = ("httpx2", "httpx", "httpcore", "requests", "urllib3")
#: how a person becomes known to the hub
LOG_IN = "`hf auth login`, or set HF_TOKEN"
_NAME = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}(?<![.-])(?<!\.git)", re.ASCII)


class HubError(ValueError):
    """The hub cannot give or take something, with what to do about it."""


@dataclass(frozen=True)
class HubName:
    """A repository of models on the hub.

    Attributes:
        repo: ``owner/name``.
        revision: branch, tag or commit; ``None`` for ``main``.
    """

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}{f'@{self.revision}' if self.revision else ''}"


def hub_name(text: str) -> HubName:
    """Read ``owner/name`` or ``owner/name@revision``, with or without ``hf:``.

    Raises:
        HubError: for anything else.
    """
    repo, at, revision = text.removeprefix(PREFIX).partition("@")
    if not _NAME.fullmatch(repo) or (at and not revision):
        raise HubError(f"the name of a repository must be owner/name, or owner/name@revision, got {text!r}")
    return HubName(repo, revision or None)


@cache
def reachable(url: str) -> bool:
    """Whether a server can be spoken to, asked once: the hub's own client tries each file for half a minute."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=PATIENCE).close()
    except HTTPError:  # it answers
        return True
    except (URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        return not isinstance(reason, (socket.gaierror, ConnectionError, TimeoutError))
    return True


def download(name: HubName, files: Sequence[str]) -> Path:
    """The folder in the hub's cache that holds these files of a repository, and no others; cached ones need no network.

    Args:
        name: of the repository.
        files: names within it; those that it lacks are left out.

    Raises:
        HubError: if there is no such repository or revision, if it may not be read, or if there is neither a network
            nor a copy in the cache.
    """
    from huggingface_hub import constants, snapshot_download

    offline = constants.is_offline_mode() or not reachable(constants.ENDPOINT)
    if offline:
        reachable.cache_clear()  # the network may be back when a notebook asks again
    with hub_errors(name), bars_for_people():
        return Path(
            snapshot_download(
                name.repo, revision=name.revision, allow_patterns=list(files), local_files_only=offline,
                library_name="vdmfewshot",
            )
        )  # fmt: skip


@contextmanager
def bars_for_people() -> Iterator[None]:
    """Within the context the hub's client draws progress bars in a terminal only, not into files."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def hub_errors(name: HubName) -> Iterator[None]:
    """Turn what the hub and its client say into one message that says what to do; a token is in none of them.

    Raises:
        HubError: instead.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{PREFIX}{name.repo} has no branch, tag or commit {name.revision!r}") from error
    except errors.GatedRepoError as error:
        raise HubError(f"{name} is gated: ask for access on its page, then {LOG_IN}") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"there is no {PREFIX}{name.repo}, or it is private and this machine may not read it: check the name, or "
            f"{LOG_IN}"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise HubError(
            f"{name} is not in the cache of this machine and the Hub is out of reach; connect, unset HF_HUB_OFFLINE, "
            f"or copy the folder here with `hf download {name.repo}` where there is a network"
        ) from error
    except errors.HfHubHTTPError as error:
        raise HubError(_refusal(name, error.response.status_code)) from error
    except Exception as error:
        if not isinstance(error, ConnectionError | TimeoutError) and _library(error) not in TRANSPORTS:
            raise
        raise HubError(f"the Hub is out of reach for {name}; check the network ({type(error).__name__})") from error


def _library(error: Exception) -> str:
    return type(error).__module__.partition(".")[0]


def _refusal(name: HubName, status: int) -> str:
    if status == 401:
        return f"the Hub does not know this token (401, expired or misspelt?); {LOG_IN}"
    if status == 403:
        return f"this token may not do that to {name.repo} (403): take one that may write to it; {LOG_IN}"
    return f"the Hub refuses {name} with status {status}; {'try again later' if status >= 500 else 'check the name'}"
