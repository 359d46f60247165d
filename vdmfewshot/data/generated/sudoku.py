"""Sudoku of 9 x 9 and Mini Sudoku of 4 x 4 cells; every puzzle has exactly one solution."""

from __future__ import annotations

import numpy as np

from vdmfewshot.data.generated.boards import Board, Draw
from vdmfewshot.drawing.canvas import Rng


def puzzle(box: int, givens: int) -> Draw:
    """Draws pairs of a puzzle with so many given cells, 0 where nothing is given, and its only solution.

    Args:
        box: side of a box; the board has ``box ** 2`` cells a side.
        givens: number of cells that are given.
    """
    side = box * box

    def draw(rng: Rng) -> tuple[Board, Board]:
        while True:
            (solved,) = solutions(np.zeros((side, side), np.int64), limit=1, rng=rng)
            board = np.zeros_like(solved)
            given = rng.permutation(side * side)[:givens]
            board.flat[given] = solved.flat[given]
            if len(solutions(board)) == 1:
                return board, solved

    return draw


def solutions(board: Board, limit: int = 2, rng: Rng | None = None) -> list[Board]:
    """At most ``limit`` completions of a (box², box²) board, 0 where nothing is given.

    Backtracking over the cell with the fewest candidates; the given digits must not contradict each other.

    Args:
        board: the puzzle.
        limit: 2 tells whether there is exactly one.
        rng: shuffles the order in which digits are tried, so that the first solution is a random one.
    """
    side = len(board)
    box = round(side**0.5)
    rows, columns, boxes = [0] * side, [0] * side, [0] * side
    empty: list[tuple[int, int, int]] = []
    for y in range(side):
        for x in range(side):
            place = (y, x, y // box * box + x // box)
            if board[y, x]:
                _toggle((rows, columns, boxes), place, 1 << int(board[y, x] - 1))
            else:
                empty.append(place)
    filled, found = board.copy(), []

    def candidates(place: tuple[int, int, int]) -> int:
        y, x, z = place
        return ((1 << side) - 1) & ~(rows[y] | columns[x] | boxes[z])

    def search() -> None:
        if not empty:
            found.append(filled.copy())
            return
        index = min(range(len(empty)), key=lambda i: candidates(empty[i]).bit_count())
        empty[index], empty[-1] = empty[-1], empty[index]
        place = empty.pop()
        free = candidates(place)
        for digit in range(side) if rng is None else rng.permutation(side).tolist():
            if free >> digit & 1 and len(found) < limit:
                filled[place[:2]] = digit + 1
                _toggle((rows, columns, boxes), place, 1 << digit)
                search()
                _toggle((rows, columns, boxes), place, 1 << digit)
        empty.append(place)

    search()
    return found


def _toggle(used: tuple[list[int], list[int], list[int]], place: tuple[int, int, int], bit: int) -> None:
    """Mark a digit as used, or no longer used, in the row, column and box of a cell."""
    for unit, index in zip(used, place, strict=True):
        unit[index] ^= bit
