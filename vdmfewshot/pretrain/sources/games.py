"""What games and instruments show: falling pieces, scrolling worlds, snakes, crates, coins, gauges and clocks."""

from __future__ import annotations

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import (
    CRAYONS,
    NUM_FRAMES,
    Color,
    Frame,
    Rng,
    distinct_colors,
    ease,
    fill,
    outline,
    paste,
    place,
    random_color,
    solid,
    texture,
)
from vdmfewshot.pretrain.sources.camera import still_scene
from vdmfewshot.pretrain.sources.grids import Board, paint

STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def _show(rng: Rng, boards: list[Board], size: int, colors: int = 8) -> Frame:
    """Boards of one shape as a clip; sometimes only the first and the last, as before and after."""
    palette = [CRAYONS[i] for i in rng.permutation(len(CRAYONS))[:colors]]
    if rng.random() < 0.4:
        palette = distinct_colors(rng, colors, 100)
    cell = max(2, (size - 1) // max(boards[0].shape))
    line = random_color(rng) if rng.random() < 0.5 else None
    ground = solid(size, random_color(rng)) if rng.random() < 0.7 else texture(rng, size)
    if rng.random() < 0.35:
        boards = [boards[0]] * 4 + [boards[-1]] * 5
    return np.stack([paint(board, size, cell, palette, line, ground) for board in boards])


def _shape(rng: Rng) -> tuple[int, int]:
    rows, cols = rng.integers(5, 15, 2).tolist()
    return rows, cols


def falling_pieces(rng: Rng, size: int) -> Frame:
    """A piece falls onto a heap, and full rows vanish."""
    rows, cols = _shape(rng)
    heap = np.zeros((rows, cols), np.int64)
    for row in range(rows // 2, rows):
        heap[row] = np.where(rng.random(cols) < rng.choice([0.5, 0.8, 1.0]), rng.integers(1, 8, cols), 0)
    piece = [(0, 0)]
    for _ in range(int(rng.integers(1, 4))):
        y, x = piece[int(rng.integers(len(piece)))]
        dy, dx = STEPS[int(rng.integers(4))]
        piece.append((y + dy, x + dx))
    color, y, x = int(rng.integers(1, 8)), 0, int(rng.integers(cols))
    boards = []
    for _ in range(NUM_FRAMES):
        if _free(heap, piece, y + 1, x):
            y += 1
        else:
            heap = _landed(heap, piece, y, x, color)
            y, x = -2, int(rng.integers(cols))
        boards.append(_landed(heap, piece, y, x, color, clear=False))
    return _show(rng, boards, size)


def _free(heap: Board, piece: list[tuple[int, int]], y: int, x: int) -> bool:
    cells = [(y + dy, x + dx) for dy, dx in piece]
    return all(row < len(heap) and (row < 0 or heap[row, col % heap.shape[1]] == 0) for row, col in cells)


def _landed(heap: Board, piece: list[tuple[int, int]], y: int, x: int, color: int, clear: bool = True) -> Board:
    board = heap.copy()
    for dy, dx in piece:
        if y + dy >= 0:
            board[y + dy, (x + dx) % heap.shape[1]] = color
    full = (board > 0).all(1) & clear
    return np.concatenate([np.zeros((int(full.sum()), heap.shape[1]), np.int64), board[~full]])


def snake(rng: Rng, size: int) -> Frame:
    """A snake of cells that creeps, turns, grows where it finds food and leaves its tail or a trail."""
    rows, cols = _shape(rng)
    body, heading = [tuple(rng.integers(0, (rows, cols)).tolist())], int(rng.integers(4))
    food = rng.random((rows, cols)) < 0.1
    length, trail = int(rng.integers(1, 6)), rng.random() < 0.4
    boards = []
    for _ in range(NUM_FRAMES):
        board = np.where(food, 2, 0)
        for cell in body:
            board[cell] = 3
        board[body[-1]] = 4
        boards.append(board)
        if rng.random() < 0.2:
            heading = (heading + int(rng.choice([1, 3]))) % 4
        head = ((body[-1][0] + STEPS[heading][0]) % rows, (body[-1][1] + STEPS[heading][1]) % cols)
        length += int(food[head])
        food[head] = False
        body = [*body, head] if trail else [*body, head][-length:]
    return _show(rng, boards, size, 5)


def crates(rng: Rng, size: int) -> Frame:
    """A figure that walks through a maze and pushes crates until they meet a wall."""
    rows, cols = _shape(rng)
    board = np.where(rng.random((rows, cols)) < 0.15, 1, 0) + 2 * (rng.random((rows, cols)) < 0.15)
    board[board > 2] = 1
    y, x = rng.integers(0, (rows, cols)).tolist()
    heading, boards = STEPS[int(rng.integers(4))], []
    board[y, x] = 0
    for _ in range(NUM_FRAMES):
        shown = board.copy()
        shown[y, x] = 3
        boards.append(shown)
        if rng.random() < 0.15:
            heading = STEPS[int(rng.integers(4))]
        y, x = _pushed(board, y, x, heading)
    return _show(rng, boards, size, 4)


def _pushed(board: Board, y: int, x: int, heading: tuple[int, int]) -> tuple[int, int]:
    """Walk one step if nothing is in the way, or push one crate; changes the board."""
    (ay, ax), (by, bx) = ((y + n * heading[0], x + n * heading[1]) for n in (1, 2))
    inside = [0 <= r < board.shape[0] and 0 <= c < board.shape[1] for r, c in ((ay, ax), (by, bx))]
    if not inside[0] or board[ay, ax] == 1:
        return y, x
    if board[ay, ax] == 2:
        if not inside[1] or board[by, bx] != 0:
            return y, x
        board[by, bx], board[ay, ax] = 2, 0
    return ay, ax


def rays(rng: Rng, size: int) -> Frame:
    """Beams that start at lamps, run through a room of walls and are thrown back or end there."""
    rows, cols = _shape(rng)
    board = np.where(rng.random((rows, cols)) < 0.08, 1, 0)
    beams = [
        [*rng.integers(0, (rows, cols)).tolist(), *STEPS[int(rng.integers(4))], 2 + i]
        for i in range(int(rng.integers(1, 4)))
    ]
    bounce, boards = rng.random() < 0.5, []
    for _ in range(NUM_FRAMES):
        for beam in beams:
            y, x, dy, dx, color = beam
            if board[y, x] == 0:
                board[y, x] = color
            ahead = (y + dy, x + dx)
            inside = 0 <= ahead[0] < rows and 0 <= ahead[1] < cols
            if inside and board[ahead] != 1:
                beam[:2] = ahead
            elif bounce:
                beam[2:4] = (dx, dy) if rng.random() < 0.5 else (-dx, -dy)
        boards.append(board.copy())
    return _show(rng, boards, size, 6)


def swaps(rng: Rng, size: int) -> Frame:
    """Tiles that are swapped, rows that rotate and columns that are sorted, as in tile games."""
    rows, cols = (int(n) for n in rng.integers(3, 9, 2))
    board = rng.integers(0, int(rng.integers(2, 7)), (rows, cols))
    kind, boards = int(rng.integers(4)), [board]
    for _ in range(NUM_FRAMES - 1):
        board = board.copy()
        if kind == 0:
            (a, b), (c, d) = rng.integers(0, (rows, cols), (2, 2)).tolist()
            board[a, b], board[c, d] = board[c, d], board[a, b]
        elif kind == 1:
            row = int(rng.integers(rows))
            board[row] = np.roll(board[row], 1)
        elif kind == 2:
            for row in range(rows - 1):  # one sweep of bubble sort: heavy tiles sink
                upper, lower = np.minimum(board[row], board[row + 1]), np.maximum(board[row], board[row + 1])
                board[row], board[row + 1] = upper, lower
        else:
            same = board[:-1] == board[1:]
            board[1:][same] = 0
        boards.append(board)
    return _show(rng, boards, size)


def scrolling_world(rng: Rng, size: int) -> Frame:
    """A landscape of blocks that scrolls past a runner, who jumps."""
    wide = 3 * size
    sky, earth, runner = distinct_colors(rng, 3)
    heights = np.repeat(rng.uniform(0.5, 0.95, 24), wide // 24 + 1)[:wide] * size
    world = np.where((np.arange(size)[:, None] < heights)[..., None], np.array(sky), np.array(earth)).astype(np.uint8)
    for _ in range(int(rng.integers(0, 8))):
        x, y, w = (int(v) for v in rng.uniform((0, 0.1, 0.05), (3, 0.6, 0.25)) * size)
        cv2.rectangle(world, (x, y), (x + w, y + w // 3), random_color(rng), -1)
    speed, start = rng.uniform(-0.11, 0.11) * size, int(rng.uniform(0.97, 1.03) * size)
    phase, radius = rng.uniform(0, 3), rng.uniform(0.04, 0.1) * size
    frames = []
    for t in range(NUM_FRAMES):
        x = int(start + speed * t)
        frame = np.ascontiguousarray(world[:, x : x + size])
        floor = float(heights[x + size // 3])
        hop = abs(np.sin(phase + 0.6 * t)) * 0.2 * size
        cv2.circle(frame, (size // 3, int(floor - radius - hop)), int(radius), runner, -1, cv2.LINE_AA)
        frames.append(frame)
    return np.stack(frames)


def coins(rng: Rng, size: int) -> Frame:
    """Flat things with a pattern that spin about their own upright axes, so that they show their other side."""
    backdrop = texture(rng, size)
    count = int(rng.integers(1, 5))
    things = [
        (outline(rng), rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0.08, 0.24) * size, texture(rng, 24),
         random_color(rng), rng.uniform(0, 3) + ease(rng) * rng.uniform(-3.2, 3.2)) for _ in range(count)
    ]  # fmt: skip
    frames = []
    for t in range(NUM_FRAMES):
        frame = backdrop.copy()
        for points, center, radius, face, back, turns in things:
            squeeze = np.array([np.cos(turns[t]), 1.0])
            polygon = place(points * squeeze, center, radius, 0.0)
            if squeeze[0] > 0:
                paste(frame, face, polygon, center, radius, 0.0)
            else:
                fill(frame, polygon, back)
        frames.append(frame)
    return np.stack(frames)


def gauges(rng: Rng, size: int) -> Frame:
    """Bars that grow, hands that turn, and lamps that go on one after the other, on a panel."""
    panel = solid(size, random_color(rng)) if rng.random() < 0.7 else np.ascontiguousarray(still_scene(rng, size))
    parts = [(int(rng.integers(3)), rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0.08, 0.3) * size,
              distinct_colors(rng, 2, 120), ease(rng)) for _ in range(int(rng.integers(1, 5)))]  # fmt: skip
    frames = []
    for t in range(NUM_FRAMES):
        frame = panel.copy()
        for kind, (x, y), length, colors, progress in parts:
            _gauge(frame, kind, int(x), int(y), int(length), colors, float(progress[t]))
        frames.append(frame)
    return np.stack(frames)


def _gauge(frame: Frame, kind: int, x: int, y: int, length: int, colors: list[Color], value: float) -> None:
    """Draw a bar, a dial or a row of lamps that shows a value from 0 to 1."""
    thick = max(2, length // 4)
    if kind == 0:
        cv2.rectangle(frame, (x - length, y), (x + length, y + thick), colors[0], -1)
        cv2.rectangle(frame, (x - length, y), (x - length + int(2 * length * value), y + thick), colors[1], -1)
    elif kind == 1:
        cv2.circle(frame, (x, y), length, colors[0], -1, cv2.LINE_AA)
        tip = (int(x + length * np.sin(5 * value)), int(y - length * np.cos(5 * value)))
        cv2.line(frame, (x, y), tip, colors[1], max(1, thick // 2), cv2.LINE_AA)
    else:
        for i in range(5):
            lit = value * 5 > i + 0.5
            cv2.circle(frame, (x + (i - 2) * thick * 2, y), max(1, thick // 2), colors[int(lit)], -1, cv2.LINE_AA)
