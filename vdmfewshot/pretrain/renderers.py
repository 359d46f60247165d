"""Processes that render the corpus into shared memory, as fast as the cores allow and never faster than asked."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import NUM_FRAMES, Frame
from vdmfewshot.pretrain.corpora import CORPORA, CorpusName

BLOCK = 16
"""Clips that travel together; all of one size."""
SLOTS = 4
"""Blocks of shared memory a process."""


def block_size(seed: int, number: int, sizes: Mapping[int, float]) -> int:
    """Side in pixels of the clips of a block, a pure function of its number."""
    shares = np.array(list(sizes.values()))
    return int(np.random.default_rng((seed, number, 2)).choice(list(sizes), p=shares / shares.sum()))


def render_block(seed: int, number: int, size: int, corpus: CorpusName = "video") -> Frame:
    """Clips ``16 number`` to ``16 number + 15`` of a corpus, (16, 9, S, S, 3) uint8."""
    return np.stack([CORPORA[corpus](seed, number * BLOCK + i, size) for i in range(BLOCK)])


def _work(connection: Connection, buffer: Any, seed: int, corpus: CorpusName, parent: int) -> None:
    """Render the blocks that are asked for until the parent is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    while os.getppid() == parent:
        if not connection.poll(2.0):
            continue
        slot, number, size = connection.recv()
        try:
            _slot(buffer, slot, size)[:] = render_block(seed, number, size, corpus)
        except Exception as error:  # one bad clip must not stop the run
            connection.send((slot, 0, f"block {number}: {type(error).__name__}: {error}"))
        else:
            connection.send((slot, size, ""))


def _slot(buffer: Any, slot: int, size: int) -> Frame:
    shape = (BLOCK, NUM_FRAMES, size, size, 3)
    count = int(np.prod(shape))
    whole: Frame = np.frombuffer(buffer, np.uint8)
    start = slot * (len(whole) // SLOTS)
    return whole[start : start + count].reshape(shape)


class RenderPool:
    """Renders blocks of clips in corpus order on several processes; make it before anything starts threads or CUDA.

    Attributes:
        next_block: First block that nobody has been asked for: the position in the corpus.
        rendered: Clips handed out.
        inline: Whether clips are rendered in this process, when asked.
    """

    def __init__(
        self, seed: int, sizes: Mapping[int, float], workers: int, first_block: int = 0, corpus: CorpusName = "video"
    ) -> None:
        """Start the processes.

        Args:
            seed: Names the corpus.
            sizes: Sides of the clips in pixels, with their shares.
            workers: Processes; 0 renders in this one when asked.
            first_block: Where to begin.
            corpus: Which one.
        """
        self.corpus: CorpusName = corpus
        self.seed, self.sizes, self.next_block, self.rendered = seed, dict(sizes), first_block, 0
        self.buffers: dict[Connection, Any] = {}
        self.processes = []
        self.inline = workers == 0
        context = multiprocessing.get_context("fork")
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # ends OpenCV's threads, which a fork would wait for in vain
        for _ in range(workers):
            mine, theirs = context.Pipe()
            buffer = mmap.mmap(-1, SLOTS * BLOCK * NUM_FRAMES * 3 * max(sizes) ** 2)
            process = context.Process(target=_work, args=(theirs, buffer, seed, corpus, os.getpid()), daemon=True)
            process.start()
            theirs.close()
            self.buffers[mine] = buffer
            self.processes.append(process)
            for slot in range(SLOTS):
                self._ask(mine, slot)
        cv2.setNumThreads(threads)

    def _ask(self, connection: Connection, slot: int) -> None:
        number, self.next_block = self.next_block, self.next_block + 1
        connection.send((slot, number, block_size(self.seed, number, self.sizes)))

    def poll(self, most: int = 64) -> list[Frame]:
        """Blocks (16, 9, S, S, 3) that are ready, ``most`` at most; never waits for other processes."""
        if self.inline:
            number, self.next_block = self.next_block, self.next_block + 1
            self.rendered += BLOCK
            return [render_block(self.seed, number, block_size(self.seed, number, self.sizes), self.corpus)]
        blocks: list[Frame] = []
        for ready in wait(list(self.buffers), timeout=0) if self.buffers else []:
            assert isinstance(ready, Connection), "wait was given nothing else"
            try:
                blocks += self._collect(ready, most - len(blocks))
            except (EOFError, OSError):  # that process is dead; the others go on
                del self.buffers[ready]
        self.rendered += BLOCK * len(blocks)
        return blocks

    def _collect(self, connection: Connection, most: int) -> list[Frame]:
        blocks: list[Frame] = []
        while len(blocks) < most and connection.poll():
            slot, size, problem = connection.recv()
            if problem:
                print(f"not rendered: {problem}", flush=True)  # noqa: T201
            else:
                blocks.append(_slot(self.buffers[connection], slot, size).copy())
            self._ask(connection, slot)
        return blocks

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.terminate()
        for connection in self.buffers:
            with contextlib.suppress(OSError):
                connection.close()
        self.buffers.clear()
