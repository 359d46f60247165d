"""A group of processes that ends together, at the latest when whoever started it is gone."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: by these, schedulers and launchers tell a process that it is one of many; a group numbers its processes itself
RANKED = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
LAUNCHERS = ("SLURM_", "TORCHELASTIC_", "LSB_", "JSM_", "OMPI_", "PMI_")
#: below those that systems give away by themselves
PORTS = (20_000, 30_000)


def run_group(command: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
    """Start a process and wait for it; it and all that it has started have ended when this returns or raises.

    Args:
        command: of a process that calls ``end_with_parent`` first, and whose children do so, too.
        log: file for what the group prints.
        env: environment.

    Returns:
        exit status of the process, negative if a signal ended it.
    """
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # never written to: it breaks when this process ends, however it does
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
    try:
        return process.wait()
    finally:
        with suppress(ProcessLookupError, PermissionError):  # there is nobody, or nobody but dead ones on a Mac
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def end_with_parent() -> None:
    """In a process of a group: kill the group when the process that started it is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def own_environment(env: Mapping[str, str]) -> dict[str, str]:
    """An environment for processes that number themselves and meet at a port of their own."""
    kept = {k: v for k, v in env.items() if k not in RANKED and not k.startswith(LAUNCHERS)}
    return {**kept, "MASTER_PORT": str(free_port()), "PYTHONSAFEPATH": "1"}


def free_port() -> int:
    """Where nobody listens."""
    rng = random.SystemRandom()
    while True:
        port = rng.randrange(*PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
