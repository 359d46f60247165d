"""Rules on boards of the ARC palette. Automata, mazes, puzzles, mirrors, mere recolouring are kept back."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import Rng
from vdmfewshot.pretrain.sources.grids import Board
from vdmfewshot.pretrain.tasks.pairs import Draw, Rule, chosen, colors_of, on_boards, whole

Maker = Callable[[Rng], Board]


def _sides(rng: Rng, low: int = 4, high: int = 12) -> tuple[int, int]:
    """Rows and columns of the boards of a rule."""
    rows = whole(rng, low, high)
    return rows, rows if rng.random() < 0.6 else whole(rng, low, high)


def _scattered(shape: tuple[int, int], colors: list[int], share: float) -> Maker:
    """Single cells."""

    def make(rng: Rng) -> Board:
        board = rng.choice(colors, shape)
        return np.asarray(board * (rng.random(shape) < share))

    return make


def _blocks(shape: tuple[int, int], colors: list[int], most: int = 4) -> Maker:
    """Connected figures that do not touch each other, as far as 20 tries a figure allow."""

    def make(rng: Rng) -> Board:
        board = np.zeros(shape, np.int64)
        for _ in range(whole(rng, 2, most)):
            for _ in range(20):
                height, width = (whole(rng, 1, max(1, side // 3)) for side in shape)
                y, x = (whole(rng, 0, side - own) for side, own in zip(shape, (height, width), strict=True))
                if not board[max(0, y - 1) : y + height + 1, max(0, x - 1) : x + width + 1].any():
                    board[y : y + height, x : x + width] = rng.choice(colors)
                    break
        return board

    return make


def _turned(change: Callable[[Board], Board], quarters: int) -> Callable[[Board], Board]:
    """The rule in another direction."""
    return lambda board: np.rot90(change(np.rot90(board, quarters)), -quarters)


def _parts(board: Board) -> tuple[Board, Board]:
    """Numbers of the connected areas of cells, sides touching, and their sizes; 0 is the ground."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((board > 0).astype(np.uint8), connectivity=4)
    return np.asarray(labels, np.int64), np.asarray(stats[:, cv2.CC_STAT_AREA], np.int64)


def gravity(rng: Rng) -> Draw:
    """All cells fall to one side."""

    def change(board: Board) -> Board:
        order = np.argsort(board > 0, axis=0, kind="stable")
        return np.take_along_axis(board, order, 0)

    make = _scattered(_sides(rng), colors_of(rng, whole(rng, 1, 4)), rng.uniform(0.2, 0.5))
    return on_boards(make, _turned(change, whole(rng, 0, 3)))


def roll(rng: Rng) -> Draw:
    """All cells move by the same way, around the edges or out of the board."""
    shape = _sides(rng)
    move = (whole(rng, -2, 2), int(chosen(rng, -2, -1, 1, 2)))
    around = rng.random() < 0.5

    def change(board: Board) -> Board:
        padded = board if around else np.pad(board, 2)
        moved = np.roll(padded, move, (0, 1))
        return moved if around else moved[2:-2, 2:-2]

    return on_boards(_scattered(shape, colors_of(rng, whole(rng, 1, 4)), rng.uniform(0.2, 0.6)), change)


def sorted_columns(rng: Rng) -> Draw:
    """Bars are put in order of their length."""
    shape, color, quarters = _sides(rng, 4, 9), colors_of(rng, 1)[0], whole(rng, 0, 3)
    falling = chosen(rng, -1, 1)

    def make(rng: Rng) -> Board:
        heights = rng.integers(1, shape[0] + 1, shape[1])
        board = np.where(np.arange(shape[0])[::-1, None] < heights, color, 0)
        return np.asarray(np.rot90(board, -quarters))

    def change(board: Board) -> Board:
        return np.asarray(board[:, np.argsort(falling * (board > 0).sum(0), kind="stable")])

    return on_boards(make, _turned(change, quarters))


def rays(rng: Rng) -> Draw:
    """From each cell of a colour a line runs to one or more sides of the board."""
    shape, (source, line) = _sides(rng, 6), colors_of(rng, 2)
    line = source if rng.random() < 0.5 else line
    ways = [((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))[int(i)]
            for i in rng.permutation(8)[: whole(rng, 1, 4)]]  # fmt: skip

    def make(rng: Rng) -> Board:
        board = np.zeros(shape, np.int64)
        for _ in range(whole(rng, 1, 3)):
            board[whole(rng, 0, shape[0] - 1), whole(rng, 0, shape[1] - 1)] = source
        return board

    def change(board: Board) -> Board:
        new = board.copy()
        for start in np.argwhere(board):
            for way in ways:
                for step in range(1, max(board.shape)):
                    y, x = start + step * np.array(way)
                    if 0 <= y < board.shape[0] and 0 <= x < board.shape[1] and board[y, x] == 0:
                        new[y, x] = line
        return new

    return on_boards(make, change)


def halo(rng: Rng) -> Draw:
    """Cells beside each cell of a colour take another one: above, below, at the corners, all around."""
    shape, (source, ring, other) = _sides(rng, 5), colors_of(rng, 3)
    near = np.zeros((3, 3), np.uint8)
    near.flat[rng.permutation([0, 1, 2, 3, 5, 6, 7, 8])[: whole(rng, 1, 8)]] = 1

    def change(board: Board) -> Board:
        reached = cv2.dilate((board == source).astype(np.uint8), near, borderValue=0)
        return np.where((reached > 0) & (board == 0), ring, board)

    return on_boards(_scattered(shape, [source, source, other], rng.uniform(0.06, 0.15)), change)


def joined(rng: Rng) -> Draw:
    """Two cells of a colour in one row, or column, are joined by a line."""
    shape, colors, quarter = _sides(rng, 6), colors_of(rng, 3), whole(rng, 0, 1)
    line = int(rng.integers(1, 10)) if rng.random() < 0.5 else 0

    def make(rng: Rng) -> Board:
        board = np.zeros(shape, np.int64)
        for row in rng.permutation(shape[0])[: whole(rng, 1, shape[0] // 2)]:
            places = rng.permutation(shape[1])[:2]
            board[row, places if rng.random() < 0.8 else places[:1]] = rng.choice(colors)
        return np.asarray(np.rot90(board, -quarter))

    def change(board: Board) -> Board:
        new = board.copy()
        for row in new:
            ends = np.flatnonzero(row)
            if len(ends) == 2:
                row[ends[0] + 1 : ends[1]] = line or row[ends[0]]
        return new

    return on_boards(make, _turned(change, quarter))


def without_specks(rng: Rng) -> Draw:
    """Single cells vanish; larger figures stay."""
    shape, colors = _sides(rng, 7), colors_of(rng, whole(rng, 1, 4))
    blocks, specks = _blocks(shape, colors), _scattered(shape, colors, rng.uniform(0.05, 0.15))

    def make(rng: Rng) -> Board:
        board = blocks(rng)
        return np.where(board > 0, board, specks(rng))

    def change(board: Board) -> Board:
        labels, sizes = _parts(board)
        return np.where(sizes[labels] > 1, board, 0)

    return on_boards(make, change)


def biggest(rng: Rng) -> Draw:
    """Only the biggest figure, or only the smaller ones, stay or take a colour."""
    shape, colors = _sides(rng, 7), colors_of(rng, whole(rng, 2, 4))
    paint, keep_others, others = colors[0], rng.random() < 0.5, rng.random() < 0.3

    def change(board: Board) -> Board:
        labels, sizes = _parts(board)
        sizes[0] = 0
        picked = (labels == sizes.argmax()) ^ (others & (labels > 0))
        return np.where(picked, paint if keep_others else board, board if keep_others else 0)

    return on_boards(_blocks(shape, colors[1:] or colors, 5), change)


def hollow(rng: Rng) -> Draw:
    """The inside of each figure becomes empty or takes a colour; or its rim does."""
    shape, (color, paint) = _sides(rng, 8, 14), colors_of(rng, 2)
    paint, rim = int(chosen(rng, 0, paint)), rng.random() < 0.4

    def make(rng: Rng) -> Board:
        board = np.zeros(shape, np.int64)
        for _ in range(whole(rng, 1, 3)):
            height, width = (whole(rng, 3, side // 2) for side in shape)
            y, x = (whole(rng, 0, side - own) for side, own in zip(shape, (height, width), strict=True))
            board[y : y + height, x : x + width] = color
        return board

    def change(board: Board) -> Board:
        inner = cv2.erode((board > 0).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
        part = (board > 0) & ~inner if rim else inner
        return np.where(part, paint, board)

    return on_boards(make, change)


def enclosed(rng: Rng) -> Draw:
    """Ground that is fenced in on all sides takes a colour."""
    shape, (fence, paint) = _sides(rng, 7, 14), colors_of(rng, 2)

    def make(rng: Rng) -> Board:
        board = _scattered(shape, [fence], 0.1)(rng)
        for _ in range(whole(rng, 1, 3)):
            height, width = (whole(rng, 3, side // 2 + 1) for side in shape)
            y, x = (whole(rng, 0, side - own) for side, own in zip(shape, (height, width), strict=True))
            frame = board[y : y + height, x : x + width]
            frame[[0, -1]] = frame[:, [0, -1]] = fence
        return board

    def change(board: Board) -> Board:
        ground = np.pad((board == 0).astype(np.uint8), 1, constant_values=1)
        cv2.floodFill(ground, None, (0, 0), 2)
        return np.where(ground[1:-1, 1:-1] == 1, paint, board)

    return on_boards(make, change)


def full_rows(rng: Rng) -> Draw:
    """Rows, or columns, with cells of a colour are filled with it; or those without any are."""
    shape, colors, quarter = _sides(rng, 4), colors_of(rng, whole(rng, 1, 3)), whole(rng, 0, 1)
    empty = colors[0] if rng.random() < 0.3 else 0

    def change(board: Board) -> Board:
        first = np.take_along_axis(board, (board > 0).argmax(1)[:, None], 1)
        filled = np.where(first == 0, empty, board) if empty else np.where(board > 0, board, first)
        return np.broadcast_to(filled, board.shape).copy()

    return on_boards(_scattered(shape, colors, rng.uniform(0.08, 0.2)), _turned(change, quarter))


BOARDS: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        *(gravity, roll, sorted_columns, rays, halo, joined, without_specks, biggest, hollow, enclosed, full_rows),
    )
}
