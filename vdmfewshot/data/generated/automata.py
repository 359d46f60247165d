"""Cellular automata of arXiv 2510.24448: elementary rules over time, Life-like rules, Langton's ant."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.data.generated.boards import Board, Draw, elementary_step
from vdmfewshot.drawing.canvas import Rng

Alive = NDArray[np.bool_]

#: rules of the papers' tables: elementary by class 1 to 4, Life-like in B/S notation
ELEMENTARY = (8, 32, 128, 160, 4, 108, 170, 250, 30, 45, 90, 150, 110, 54, 62, 106)
LIFE_LIKE = {
    "life": "B3/S23",
    "day_and_night": "B3678/S34678",
    "maze_rule": "B3/S12345",
    "seeds_rule": "B2/S",
    "b3_s2": "B3/S2",
}
HORIZONS = (2, 3, 5, 10)
#: cells of an elementary state, and states below each other
WIDTH, STATES = 16, 8
#: side of the other boards, share of living cells of Life-like boards
SIDE, DENSITY = 8, 0.4
#: dead and living cells of elementary rules; what is still to be filled in is 0
DEAD, ALIVE = 1, 2
#: the ant's colour; it starts in the middle, facing up
ANT = 2


def elementary(rule: int) -> Draw:
    """Draws pairs of a first state and it with seven more below, around the ends."""

    def draw(rng: Rng) -> tuple[Board, Board]:
        rows = [rng.random((1, WIDTH)) < 0.5]
        while len(rows) < STATES:
            rows.append(elementary_step(rows[-1], rule))
        target = np.where(np.concatenate(rows), ALIVE, DEAD).astype(np.int64)
        start = np.zeros_like(target)
        start[0] = target[0]
        return start, target

    return draw


def parse_rule(rule: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """``B3/S23`` → numbers of living neighbours with which a cell is born, and survives.

    Raises:
        ValueError: if it is not in this notation.
    """
    match = re.fullmatch(r"B([0-8]*)/S([0-8]*)", rule)
    if match is None:
        raise ValueError(f"a Life-like rule must look like B3/S23, got {rule!r}")
    born, survives = (tuple(map(int, digits)) for digits in match.groups())
    return born, survives


def life_like_step(alive: Alive, rule: str) -> Alive:
    """Next state of (h, w) cells; beyond the border everything is dead."""
    born, survives = parse_rule(rule)
    height, width = alive.shape
    padded = np.pad(alive.astype(np.int64), 1)
    shifts = [(dy, dx) for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)]
    count = np.sum([padded[dy : dy + height, dx : dx + width] for dy, dx in shifts], axis=0)
    return np.asarray(np.where(alive, np.isin(count, survives), np.isin(count, born)), np.bool_)


def life_like(rule: str) -> Draw:
    """Draws pairs of a random board and its next state."""

    def draw(rng: Rng) -> tuple[Board, Board]:
        alive = rng.random((SIDE, SIDE)) < DENSITY
        return alive.astype(np.int64), life_like_step(alive, rule).astype(np.int64)

    return draw


def ant_walk(cells: Alive, steps: int) -> tuple[Alive, tuple[int, int]]:
    """Cells and the ant's place after some steps on a torus.

    On 0 it turns right, on 1 left; it flips the cell that it stands on and goes one cell forward.
    """
    cells = cells.copy()
    (y, x), (down, right) = (SIDE // 2, SIDE // 2), (-1, 0)
    for _ in range(steps):
        down, right = (-right, down) if cells[y, x] else (right, -down)
        cells[y, x] = ~cells[y, x]
        y, x = (y + down) % SIDE, (x + right) % SIDE
    return cells, (y, x)


def ant(horizon: int) -> Draw:
    """Draws pairs of a random board with the ant in the middle, on 0, and the same some steps later."""

    def draw(rng: Rng) -> tuple[Board, Board]:
        cells = rng.random((SIDE, SIDE)) < 0.5
        cells[SIDE // 2, SIDE // 2] = False
        boards = []
        for steps in (0, horizon):
            after, place = ant_walk(cells, steps)
            boards.append(after.astype(np.int64))
            boards[-1][place] = ANT
        return boards[0], boards[1]

    return draw
