"""Mazes and maps with obstacles, and the shortest way through them."""

from __future__ import annotations

from collections import deque

import numpy as np

from vdmfewshot.data.generated.boards import Board, Draw
from vdmfewshot.drawing.canvas import Rng

Cell = tuple[int, int]

#: values of cells, as in the papers' maze palette
WALL, FREE, END, START, WAY = range(5)
#: sides of boards: the base maze, the smaller one that generalisation trains on, the map of obstacles
MAZE, SMALL_MAZE, MAP = 21, 13, 15
#: of the map: share of single obstacles, walls across with how many holes, blocks of how many cells a side
DENSITY, BARRIERS, HOLES, BLOCKS, BLOCK = 0.05, 3, (8, 14), (3, 8), (2, 3)
#: least Manhattan distance of start and end on the map
FAR = 15
#: neighbours in the order in which the search tries them, which decides between ways of equal length
STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))


def maze(side: int) -> Draw:
    """Draws pairs of a maze with one way from corner to corner, and the same with the way."""

    def draw(rng: Rng) -> tuple[Board, Board]:
        return with_way(wilson(rng, side), (1, 1), (side - 2, side - 2))

    return draw


def wilson(rng: Rng, side: int) -> Board:
    """A (side, side) uniform spanning tree of rooms on odd places, by Wilson's loop-erased random walks."""
    count = side // 2
    board = np.full((side, side), WALL, np.int64)
    rooms = [(y, x) for y in range(count) for x in range(count)]
    done = {rooms[int(rng.integers(len(rooms)))]}
    for room in rooms:
        last: dict[Cell, Cell] = {}
        here = room
        while here not in done:
            last[here] = _neighbour(rng, here, count)
            here = last[here]
        here = room
        while here not in done:
            done.add(here)
            (y, x), (v, u) = here, last[here]
            board[[2 * y + 1, y + v + 1, 2 * v + 1], [2 * x + 1, x + u + 1, 2 * u + 1]] = FREE
            here = last[here]
    return board


def _neighbour(rng: Rng, cell: Cell, count: int) -> Cell:
    near = [(cell[0] + dy, cell[1] + dx) for dy, dx in STEPS]
    inside = [(y, x) for y, x in near if 0 <= y < count and 0 <= x < count]
    return inside[int(rng.integers(len(inside)))]


def shortest_path(rng: Rng) -> tuple[Board, Board]:
    """A map of obstacles with start and end, and the same with a shortest way between them."""
    while True:
        board = obstacles(rng)
        free = np.argwhere(board == FREE)
        start, end = (tuple(free[int(rng.integers(len(free)))].tolist()) for _ in range(2))
        if abs(start[0] - end[0]) + abs(start[1] - end[1]) >= FAR and way(board, start, end):
            return with_way(board, start, end)


def obstacles(rng: Rng) -> Board:
    """A (15, 15) map: a wall around it, single obstacles, three walls across with many holes, and blocks."""
    board = np.where(rng.random((MAP, MAP)) < DENSITY, WALL, FREE).astype(np.int64)
    for _ in range(BARRIERS):
        line = np.full(MAP, WALL)
        line[rng.permutation(MAP)[: int(rng.integers(HOLES[0], HOLES[1] + 1))]] = FREE
        place = int(rng.integers(2, MAP - 2))
        part = board[place] if rng.random() < 0.5 else board[:, place]
        part[:] = line
    for _ in range(int(rng.integers(BLOCKS[0], BLOCKS[1] + 1))):
        height, width = rng.integers(BLOCK[0], BLOCK[1] + 1, 2).tolist()
        y, x = int(rng.integers(1, MAP - height)), int(rng.integers(1, MAP - width))
        board[y : y + height, x : x + width] = WALL
    board[[0, -1]] = WALL
    board[:, [0, -1]] = WALL
    return board


def with_way(board: Board, start: Cell, end: Cell) -> tuple[Board, Board]:
    """The board with its ends marked, and the same with the cells of a shortest way between them."""
    before = board.copy()
    before[start], before[end] = START, END
    after = before.copy()
    for cell in way(board, start, end)[1:-1]:
        after[cell] = WAY
    return before, after


def way(board: Board, start: Cell, end: Cell) -> list[Cell]:
    """Cells of a shortest way from start to end, both included; empty if there is none. Breadth-first search."""
    came: dict[Cell, Cell] = {start: start}
    queue = deque([start])
    while queue and end not in came:
        y, x = queue.popleft()
        for dy, dx in STEPS:
            cell = (y + dy, x + dx)
            if cell not in came and board[cell] != WALL:
                came[cell] = (y, x)
                queue.append(cell)
    cells = [end] if end in came else []
    while cells and cells[-1] != start:
        cells.append(came[cells[-1]])
    return cells[::-1]
