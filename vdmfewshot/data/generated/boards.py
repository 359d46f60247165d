"""The next state of cellular automata on small boards; the corpus leaves these rules out on purpose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.data.generated.scenes import Part
from vdmfewshot.drawing.canvas import Rng

Board = NDArray[np.int64]
#: random numbers → board and answer
Draw = Callable[[Rng], tuple[Board, Board]]

#: cells a side
SIDE = 8
#: colours of living cells in ARC's palette: green for Life, blue for the elementary rule, red for seeds
GREEN, BLUE, RED = 3, 1, 2


def neighbours(alive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(h, w) number of living cells among the eight around each, on a torus."""
    shifts = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    return np.asarray(np.sum([np.roll(alive, shift, (0, 1)) for shift in shifts], axis=0), np.int64)


def life_step(alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Conway's Life, B3/S23."""
    count = neighbours(alive)
    return np.asarray((count == 3) | (alive & (count == 2)), np.bool_)


def seeds_step(alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Seeds, B2/S: a cell is born beside exactly two and every living one dies."""
    return np.asarray(~alive & (neighbours(alive) == 2), np.bool_)


def elementary_step(alive: NDArray[np.bool_], rule: int) -> NDArray[np.bool_]:
    """Wolfram's elementary rule, on every row of its own, around the ends: bit 4 l + 2 c + r of the rule's number."""
    code = 4 * np.roll(alive, 1, 1).astype(int) + 2 * alive.astype(int) + np.roll(alive, -1, 1).astype(int)
    return np.asarray((rule >> code) & 1, bool)


def life(rng: Rng, size: int, part: Part) -> tuple[Board, Board]:
    """A board and what Life makes of it."""
    alive = rng.random((SIDE, SIDE)) < 0.4
    return alive * np.int64(GREEN), life_step(alive) * np.int64(GREEN)


def seeds(rng: Rng, size: int, part: Part) -> tuple[Board, Board]:
    """A sparse board and what Seeds makes of it."""
    alive = rng.random((SIDE, SIDE)) < 0.15
    return alive * np.int64(RED), seeds_step(alive) * np.int64(RED)


def rule_110(rng: Rng, size: int, part: Part) -> tuple[Board, Board]:
    """Eight rows, each a state of rule 110, and their next states."""
    alive = rng.random((SIDE, SIDE)) < 0.5
    return alive * np.int64(BLUE), elementary_step(alive, 110) * np.int64(BLUE)
