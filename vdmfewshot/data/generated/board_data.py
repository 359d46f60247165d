"""Board tasks as an ordinary data module: ``vdmfewshot adapt -c tasks/hitori``."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.grid import GridCodec
from vdmfewshot.data.arc import draw_pair
from vdmfewshot.data.generated.board_tasks import BOARDS
from vdmfewshot.data.generated.boards import Board
from vdmfewshot.data.generated.examples import GeneratedDataModule, example_rng
from vdmfewshot.data.generated.scenes import Part
from vdmfewshot.metrics.arc import ArcMetric
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.route import RouteMetric

#: apart from the seeds of the evidence
SEED = 24448


@functools.lru_cache(maxsize=8192)
def make_boards(task: str, part: Part, seed: int, index: int) -> tuple[Board, Board]:
    """Board and answer ``index`` of one support set, or of the queries: a pure function of its arguments."""
    rng = example_rng(SEED, task, part, seed, index)
    draw = (BOARDS[task].support if part == "support" else None) or BOARDS[task].draw
    while True:
        x, y = draw(rng)
        if part_of(x) == part:
            return x, y


def part_of(board: Board) -> Part:
    """Half of all boards are only ever shown for training, the other half only asked about."""
    digest = hashlib.sha256(f"{board.shape}".encode() + board.astype(np.uint8).tobytes()).digest()
    return "support" if digest[0] % 2 else "query"


class BoardDataModule(GeneratedDataModule):
    """A puzzle, game, maze or automaton of arXiv 2510.24448: up to 5000 training boards, 200 queries.

    Examples are generated and seeded; puzzles have one solution, positions one winning move. Which boards may be shown
    and which asked about is decided by a hash of the board, so that no query is ever among the training boards,
    whatever ``shots`` and ``support_seed``; the queries are the same for all of them.

    Args:
        task: name of the task, a key of ``BOARDS``.
        paper_parity: draw and decode as the paper does, on its canvas and told where the board lies. Otherwise the
            largest cells that fit, and the board's size is read from the frame.
        **kwargs: see ``FewShotDataModule``.

    Raises:
        ValueError: if there is no such task, or the canvas does not suit it.
    """

    def __init__(self, task: str, paper_parity: bool = False, **kwargs: Any) -> None:
        super().__init__(task, BOARDS, **kwargs)
        self.paper_parity = paper_parity
        self.make_codec()

    def make_codec(self) -> GridCodec:
        """As the paper draws, or as large as fits."""
        return BOARDS[self.task].codec((self.height, self.width), self.paper_parity)

    def decode(self, frame: Any, pair: Pair) -> Any:
        """Read the board of a generated frame; with ``paper_parity`` it lies where the query's board lies."""
        size = pair.meta["input_shape"] if self.paper_parity else None
        return self.make_codec().decode(frame, self.box(pair), size=size)

    def make_metric(self) -> TaskMetric:
        """Exact match of one attempt, for ways also their share that lead to the end and their length."""
        return RouteMetric() if BOARDS[self.task].route else ArcMetric(1)

    def draw(self, name: str, part: Part, seed: int, index: int) -> Pair:
        """See ``GeneratedDataModule.draw``."""
        x, y = make_boards(self.task, part, seed, index)
        meta = {"task": name, "source": "generated", "input_shape": tuple(x.shape)}
        return draw_pair(name, x, y, self.make_codec(), (self.height, self.width), meta)
