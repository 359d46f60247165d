"""Hitori of 5 x 5 cells: shade cells so that no number is left twice in a row or column; one solution each.

No two shaded cells touch, and the others hang together. The papers' easy puzzles have about a quarter of the cells
shaded; the answer is drawn as a board of 0 and 1.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.data.generated.boards import Board
from vdmfewshot.drawing.canvas import Rng

SIDE = 5
#: fewest and most shaded cells
SHADED = (5, 7)

Shadings = NDArray[np.bool_]


def draw(rng: Rng) -> tuple[Board, Board]:
    """A board of numbers 1 to 5 and its only solution, 1 where a cell is shaded."""
    legal = legal_shadings()
    fitting = legal[(legal.sum(axis=1) >= SHADED[0]) & (legal.sum(axis=1) <= SHADED[1])]
    while True:
        shaded = fitting[int(rng.integers(len(fitting)))].reshape(SIDE, SIDE)
        board = latin_square(rng)
        for y, x in np.argwhere(shaded).tolist():
            others = np.concatenate([board[y][~shaded[y]], board[:, x][~shaded[:, x]]])
            board[y, x] = rng.choice(others)
        if len(solutions(board)) == 1:
            return board, shaded.astype(np.int64)


def latin_square(rng: Rng) -> Board:
    """(5, 5) numbers 1 to 5, each once in every row and column."""
    rows, columns, numbers = (rng.permutation(SIDE) for _ in range(3))
    return np.asarray(numbers[(rows[:, None] + columns[None]) % SIDE] + 1, np.int64)


def solutions(board: Board) -> Shadings:
    """(N, 25) all shadings that solve a board."""
    legal = legal_shadings()
    cells = board.ravel()
    for a, b in itertools.combinations(range(SIDE * SIDE), 2):
        aligned = a // SIDE == b // SIDE or a % SIDE == b % SIDE
        if aligned and cells[a] == cells[b]:
            legal = legal[legal[:, a] | legal[:, b]]
    return legal


@functools.cache
def legal_shadings() -> Shadings:
    """(N, 25) every shading in which no shaded cells touch and the others hang together."""
    rows = [bits for bits in range(1 << SIDE) if not bits & bits >> 1]
    boards: list[tuple[int, ...]] = [(row,) for row in rows]
    for _ in range(SIDE - 1):
        boards = [(*board, row) for board in boards for row in rows if not board[-1] & row]
    bits = np.array([board for board in boards if _connected(board)], np.int64)
    return np.asarray(bits[:, :, None] >> np.arange(SIDE) & 1, np.bool_).reshape(len(bits), -1)


def _connected(board: tuple[int, ...]) -> bool:
    """Whether the unshaded cells of rows of bits hang together: a flood from the first one."""
    free = [~row & (1 << SIDE) - 1 for row in board]
    first = next(y for y, row in enumerate(free) if row)
    reached = [0] * SIDE
    reached[first] = free[first] & -free[first]
    while True:
        spread = [
            free[y]
            & (
                reached[y]
                | reached[y] << 1
                | reached[y] >> 1
                | (reached[y - 1] if y else 0)
                | (reached[y + 1] if y + 1 < SIDE else 0)
            )
            for y in range(SIDE)
        ]
        if spread == reached:
            return reached == free
        reached = spread
