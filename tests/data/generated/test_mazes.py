"""Mazes are trees, ways are as short as another search finds, and routes are scored as they should be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, shortest_path

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.data.generated import mazes
from vdmfewshot.metrics.route import RouteMetric, path_length


def graph(board):
    """(free cells, adjacency) of everything that is no wall."""
    cells = [tuple(c) for c in np.argwhere(board != mazes.WALL).tolist()]
    index = {cell: i for i, cell in enumerate(cells)}
    edges = [(index[y, x], index[c]) for y, x in cells for c in ((y + 1, x), (y, x + 1)) if c in index]
    rows, columns = np.array(edges).T
    return cells, csr_array((np.ones(len(edges)), (rows, columns)), shape=(len(cells),) * 2), len(edges)


def place(board, value):
    ((y, x),) = np.argwhere(board == value).tolist()
    return y, x


@pytest.mark.parametrize("side", [mazes.SMALL_MAZE, mazes.MAZE])
def test_mazes_are_trees_and_their_way_is_the_only_one(side):
    rng = np.random.default_rng(side)
    for _ in range(10):
        before, after = mazes.maze(side)(rng)
        cells, adjacency, edges = graph(before)
        assert connected_components(adjacency, directed=False)[0] == 1
        assert edges == len(cells) - 1
        assert (place(before, mazes.START), place(before, mazes.END)) == ((1, 1), (side - 2, side - 2))
        distance = shortest_path(adjacency, directed=False, indices=cells.index((1, 1)))[cells.index((side - 2,) * 2)]
        assert (after == mazes.WAY).sum() == distance - 1
        assert path_length(after, after) == distance


def test_wilsons_mazes_are_uniform_on_the_smallest_board():
    """Four rooms in a square have four spanning trees."""
    rng, counts = np.random.default_rng(0), {}
    for _ in range(800):
        key = mazes.wilson(rng, 5).tobytes()
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 4
    assert all(150 < count < 250 for count in counts.values())


def test_ways_round_obstacles_are_shortest():
    rng = np.random.default_rng(0)
    for _ in range(20):
        before, after = mazes.shortest_path(rng)
        start, end = place(before, mazes.START), place(before, mazes.END)
        assert abs(start[0] - end[0]) + abs(start[1] - end[1]) >= mazes.FAR
        assert not before[[0, -1]].any()
        assert not before[:, [0, -1]].any()
        cells, adjacency, _ = graph(before)
        distance = shortest_path(adjacency, directed=False, indices=cells.index(start))[cells.index(end)]
        assert path_length(after, after) == distance
        assert ((before != after) == (after == mazes.WAY)).all()


def scored(board, truth):
    metric = RouteMetric()
    metric.update(metric.measure([Decoded(np.asarray(board), 0.5)], Pair("a", np.zeros((8, 8, 3), np.uint8), truth)))
    return {name: float(value) for name, value in metric.compute().items()}


TRUTH = np.array([[0, 0, 0, 0, 0], [0, 3, 4, 2, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({}, (1, 1, 1, 1)),
        ({(1, 2): 1, (2, 1): 4, (2, 2): 4, (2, 3): 4}, (0, 1, 0, 2)),
        ({(1, 2): 1}, (0, 0, 0, None)),
        ({(2, 2): 4}, (0, 0, 0, None)),
        ({(3, 1): 4}, (0, 0, 0, None)),
        ({(1, 2): 1, (0, 1): 4, (0, 2): 4, (0, 3): 4}, (0, 0, 0, None)),
        ({(3, 3): 0}, (0, 1, 1, 1)),
    ],
    ids=["truth", "detour", "gap", "branch", "stray", "through walls", "another cell"],
)
def test_routes_are_scored_by_what_leads_from_start_to_end(cells, expected):
    board = TRUTH.copy()
    for cell, value in cells.items():
        board[cell] = value
    scores = scored(board, TRUTH)
    right, path, optimal, length = expected
    assert (scores["pass@1"], scores["psr"], scores["optimal"]) == (right, path, optimal)
    assert scores["rpl"] == length if length is not None else np.isnan(scores["rpl"])


def test_rings_beside_the_way_are_no_path():
    truth = np.full((9, 9), mazes.FREE)
    truth[1, 1], truth[1, 2], truth[1, 3] = mazes.START, mazes.WAY, mazes.END
    ring = truth.copy()
    ring[4:7, 4:7] = mazes.WAY
    ring[5, 5] = mazes.FREE
    assert path_length(truth, truth) == 2
    assert path_length(ring, truth) == 0


@pytest.mark.parametrize("board", [np.zeros((2, 2), int), np.zeros((5, 5))])
def test_a_board_of_another_size_or_kind_is_a_failure(board):
    assert scored(board, TRUTH)["pass@1"] == scored(board, TRUTH)["psr"] == 0
