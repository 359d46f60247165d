"""Board worlds of coloured cells that fall, drift, grow, blink, slide and recolour, and cellular automata.

The dynamics are those of falling sand, rain, conveyor belts and spreading fire: physics on a board, not puzzles.
Conway's Life and the elementary one-dimensional rules are left out on purpose, for use as held-out tasks.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from vdmfewshot.drawing.canvas import (
    CRAYONS,
    NUM_FRAMES,
    Color,
    Frame,
    Rng,
    distinct_colors,
    ease,
    random_color,
    texture,
)
from vdmfewshot.pretrain.sources.camera import MOST_TURN, view

Board = npt.NDArray[np.int64]
Step = Callable[[Rng, Board], Board]


def random_board(rng: Rng, colors: int) -> Board:
    """A board (rows, columns) of colour indices; 0 is the ground."""
    rows, cols = (int(n) for n in rng.integers(2, 17, 2))
    if rng.random() < 0.4:
        cols = rows
    board = np.zeros((rows, cols), np.int64)
    if rng.random() < 0.4:
        busy = rng.random((rows, cols)) < rng.uniform(0.05, 0.9)
        board[busy] = rng.integers(0, colors, int(busy.sum()))
        return board
    for _ in range(int(rng.integers(1, 6))):
        _stamp(rng, board, int(rng.integers(1, colors)))
    return board


def _stamp(rng: Rng, board: Board, color: int) -> None:
    """Put one block, frame, line or random figure on the board."""
    rows, cols = board.shape
    h, w = int(rng.integers(1, max(2, rows * 2 // 3))), int(rng.integers(1, max(2, cols * 2 // 3)))
    y, x = int(rng.integers(rows - h + 1)), int(rng.integers(cols - w + 1))
    patch, kind = board[y : y + h, x : x + w], rng.random()
    if kind < 0.4:
        patch[:] = color
    elif kind < 0.6:
        patch[[0, -1]] = color
        patch[:, [0, -1]] = color
    elif kind < 0.75:
        np.fill_diagonal(patch, color)
    else:
        patch[rng.random(patch.shape) < 0.6] = color


def _fall(rng: Rng, board: Board) -> Board:
    """Every cell above an empty one drops by one row."""
    new = board.copy()
    for row in range(len(new) - 2, -1, -1):
        free = (new[row] > 0) & (new[row + 1] == 0)
        new[row + 1, free], new[row, free] = new[row, free], 0
    return new


def _drift(dy: int, dx: int) -> Step:
    """All cells move by (dy, dx), around the edges."""
    return lambda rng, board: np.roll(board, (dy, dx), (0, 1))


def _leave(dy: int, dx: int) -> Step:
    """All cells move by (dy, dx) and leave over the edges."""

    def step(rng: Rng, board: Board) -> Board:
        padded = np.pad(board, 1)
        return np.roll(padded, (dy, dx), (0, 1))[1:-1, 1:-1]

    return step


def _spread(rng: Rng, board: Board) -> Board:
    """Colours spread into the empty cells beside them, each with some delay."""
    new = board.copy()
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        source = _leave(dy, dx)(rng, board)
        take = (new == 0) & (source > 0) & (rng.random(board.shape) < 0.6)
        new[take] = source[take]
    return new


def _vote(rng: Rng, board: Board) -> Board:
    """Each cell takes the colour of a random neighbour: domains form and melt."""
    dy, dx = rng.integers(-1, 2, 2).tolist()
    copied = np.roll(board, (dy, dx), (0, 1))
    return np.where(rng.random(board.shape) < 0.4, copied, board)


def _cycle(rng: Rng, board: Board) -> Board:
    """Cyclic automaton: a colour gives way to the next one when that is beside it."""
    follower = (board + 1) % 6
    beside = np.zeros(board.shape, bool)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        beside |= np.roll(board, (dy, dx), (0, 1)) == follower
    return np.where(beside, follower, board)


def _fire(rng: Rng, board: Board) -> Board:
    """Forest fire: 1 is wood, 2 burns, 3 is ash."""
    burning = board == 2
    near = np.zeros(board.shape, bool)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        near |= _leave(dy, dx)(rng, burning.astype(np.int64)) > 0
    new = np.where(burning, 3, board)
    return np.where((board == 1) & near, 2, new)


def _rain(rng: Rng, board: Board) -> Board:
    """Cells move down and new ones come in at the top."""
    new = _leave(1, 0)(rng, board)
    new[0] = np.where(rng.random(board.shape[1]) < 0.2, rng.integers(1, 4, board.shape[1]), 0)
    return new


def _wander(rng: Rng, board: Board) -> Board:
    """Each cell takes a random step into an empty neighbour."""
    new = board.copy()
    for y, x in rng.permutation(np.argwhere(board)).tolist():
        dy, dx = ((0, 1), (1, 0), (0, -1), (-1, 0))[int(rng.integers(4))]
        to = ((y + dy) % board.shape[0], (x + dx) % board.shape[1])
        if new[to] == 0:
            new[to], new[y, x] = new[y, x], 0
    return new


def _repaint(first: int, second: int) -> Step:
    """Cells of one colour take on another with some probability a step."""
    return lambda rng, board: np.where((board == first) & (rng.random(board.shape) < 0.5), second, board)


def _blink(rng: Rng, board: Board) -> Board:
    """Random cells light up or go out."""
    flip = rng.random(board.shape) < 0.08
    return np.where(flip, rng.integers(0, 6, board.shape), board)


def _push(rng: Rng, board: Board) -> Board:
    """Rows slide by their own amounts, like belts."""
    return np.stack([np.roll(row, (i % 3) - 1) for i, row in enumerate(board)])


def _stay(rng: Rng, board: Board) -> Board:
    """Nothing happens."""
    return board


def random_step(rng: Rng) -> Step:
    """Draw one law of motion."""
    dy, dx = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, 1))[int(rng.integers(6))]
    first, second = rng.integers(0, 6, 2).tolist()
    laws: list[Step] = [_fall, _fall, _drift(dy, dx), _leave(dy, dx), _spread, _vote, _cycle, _fire, _rain, _wander,
                        _repaint(first, second), _blink, _push, _stay]  # fmt: skip
    return laws[int(rng.integers(len(laws)))]


def paint(board: Board, size: int, cell: int, colors: list[Color], line: Color | None, ground: Frame) -> Frame:
    """Draw a board in the middle of a (size, size, 3) ground with ``cell`` px cells and 1 px border lines."""
    picture = np.array(colors, np.uint8)[board]
    picture = cv2.resize(picture, None, fx=cell, fy=cell, interpolation=cv2.INTER_NEAREST)
    if line is not None:
        picture[::cell] = picture[:, ::cell] = line
        picture = cv2.copyMakeBorder(picture, 0, 1, 0, 1, cv2.BORDER_CONSTANT, value=line)
    frame = ground.copy()
    h, w = (min(size, n) for n in picture.shape[:2])
    y, x = (size - h) // 2, (size - w) // 2
    frame[y : y + h, x : x + w] = picture[:h, :w]
    return frame


def _palette(rng: Rng) -> list[Color]:
    if rng.random() < 0.6:
        return [CRAYONS[i] for i in rng.permutation(len(CRAYONS))[:6]]
    return distinct_colors(rng, 6, 120)


def board_world(rng: Rng, size: int) -> Frame:
    """A board that follows one law: a step a frame, a step every other frame, or many steps in one leap."""
    board, law, colors = random_board(rng, 6), random_step(rng), _palette(rng)
    fit = (size - 1) // max(board.shape)
    cell = fit if rng.random() < 0.6 else int(rng.integers(min(3, fit), fit + 1))
    line = random_color(rng) if rng.random() < 0.75 and cell > 2 else None
    ground = np.full((size, size, 3), random_color(rng), np.uint8) if rng.random() < 0.8 else texture(rng, size)
    boards = [board]
    for _ in range(NUM_FRAMES - 1):
        boards.append(law(rng, boards[-1]))
    rhythm = rng.random()
    if rhythm < 0.45:
        leap = boards[int(rng.integers(1, NUM_FRAMES))]
        boards = [board] * 4 + [leap] * 5
    elif rhythm < 0.65:
        boards = [boards[t // 2] for t in range(NUM_FRAMES)]
    painted: dict[bytes, Frame] = {}
    for state in boards:
        if state.tobytes() not in painted:
            painted[state.tobytes()] = paint(state, size, cell, colors, line, ground)
    return np.stack([painted[state.tobytes()] for state in boards])


def turning_board(rng: Rng, size: int) -> Frame:
    """A board that slides, grows or turns as a whole over its ground, by less than a quarter turn."""
    board, colors = random_board(rng, 6), _palette(rng)
    cell = max(2, int((size - 1) / max(board.shape) * rng.uniform(0.5, 1)))
    line = random_color(rng) if rng.random() < 0.6 and cell > 2 else None
    picture = paint(board, size, cell, colors, line, np.full((size, size, 3), random_color(rng), np.uint8))
    slide, zoom = rng.normal(0, 0.15, 2) * size, rng.uniform(0.7, 1.4)
    turn = float(np.clip(rng.normal(0, 0.6), -MOST_TURN, MOST_TURN))
    active = rng.random(3) < 0.5
    return np.stack(
        [view(picture, size, slide * active[0] * p, 1 + (zoom - 1) * active[1] * p, turn * active[2] * p)
         for p in ease(rng)]
    )  # fmt: skip


def fine_boards(rng: Rng, size: int) -> Frame:
    """A board of very many small cells, such as a mosaic or a departure board, that switches to another one."""
    cell = int(rng.integers(2, 5))
    side = (size - 1) // (cell + 1)
    shape = tuple(int(n) for n in rng.integers(max(2, side // 2), side + 1, 2))
    colors, line = _palette(rng) + distinct_colors(rng, 4, 60), random_color(rng) if rng.random() < 0.85 else None
    ground = np.full((size, size, 3), random_color(rng), np.uint8)
    boards = []
    for _ in range(2):
        board = np.full(shape, int(rng.integers(10)))
        busy = rng.random(shape) < rng.choice([0.1, 0.4, 1.0])
        board[busy] = rng.integers(0, 10, int(busy.sum()))
        boards.append(paint(board, size, cell + 1, colors, line, ground))
    cut = 4 if rng.random() < 0.7 else int(rng.integers(1, NUM_FRAMES + 1))
    return np.stack([boards[t >= cut] for t in range(NUM_FRAMES)])
