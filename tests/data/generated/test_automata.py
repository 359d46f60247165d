"""Automata against other ways to compute them, and against what is known of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.signal import convolve2d

from vdmfewshot.data.generated import automata


@pytest.mark.parametrize("rule", automata.ELEMENTARY)
def test_elementary_states_follow_from_the_bits_of_the_rules_number(rule):
    start, target = automata.elementary(rule)(np.random.default_rng(rule))
    assert (start[0] == target[0]).all()
    assert not start[1:].any()
    assert set(np.unique(target)) <= {automata.DEAD, automata.ALIVE}
    bits = f"{rule:08b}"[::-1]
    for above, below in itertools.pairwise(target):
        for x in range(automata.WIDTH):
            left, middle, right = (above[(x + d) % automata.WIDTH] == automata.ALIVE for d in (-1, 0, 1))
            assert (below[x] == automata.ALIVE) == (bits[int(f"{left:d}{middle:d}{right:d}", 2)] == "1")


def test_rule_90_from_one_cell_draws_the_triangle_of_pascal_modulo_2():
    state = np.zeros((1, 16), bool)
    state[0, 8] = True
    for n in range(1, 6):
        state = automata.elementary_step(state, 90)
        row = [1]
        for _ in range(n):
            row = [a + b for a, b in zip([0, *row], [*row, 0], strict=True)]
        assert state[0, 8 - n : 9 + n : 2].tolist() == [bool(v % 2) for v in row]


@pytest.mark.parametrize("rule", automata.LIFE_LIKE.values())
def test_life_like_steps_agree_with_a_convolution(rule):
    rng = np.random.default_rng(0)
    born, survives = ([int(c) for c in part[1:]] for part in rule.split("/"))
    for _ in range(20):
        before, after = automata.life_like(rule)(rng)
        count = convolve2d(before, [[1, 1, 1], [1, 0, 1], [1, 1, 1]], mode="same")
        expected = [
            [int(n in (survives if a else born)) for a, n in zip(*rows, strict=True)]
            for rows in zip(before, count, strict=True)
        ]
        assert after.tolist() == expected


def test_a_blinker_turns_and_a_block_stays():
    board = np.zeros((8, 8), bool)
    board[1, 1:4] = board[5:7, 5:7] = True
    after = automata.life_like_step(board, "B3/S23")
    assert np.argwhere(after).tolist() == [[0, 2], [1, 2], [2, 2], [5, 5], [5, 6], [6, 5], [6, 6]]
    assert (automata.life_like_step(after, "B3/S23") == board).all()


@pytest.mark.parametrize("text", ["B3", "S23/B3", "B9/S2", ""])
def test_a_rule_in_another_notation_is_refused(text):
    with pytest.raises(ValueError, match="B3/S23"):
        automata.parse_rule(text)


@pytest.mark.parametrize("steps", automata.HORIZONS)
def test_the_ant_walks_as_one_on_complex_numbers(steps):
    rng = np.random.default_rng(steps)
    for _ in range(20):
        before, after = automata.ant(steps)(rng)
        assert before[4, 4] == automata.ANT
        black = {complex(x, y) for y, x in np.argwhere(before == 1)}
        place, heading = 4 + 4j, -1j
        for _ in range(steps):
            heading *= -1j if place in black else 1j
            black ^= {place}
            place = complex((place + heading).real % 8, (place + heading).imag % 8)
        assert after[int(place.imag), int(place.real)] == automata.ANT
        cells = {complex(x, y) for y, x in np.argwhere(after == 1)}
        assert cells - {place} == black - {place}
