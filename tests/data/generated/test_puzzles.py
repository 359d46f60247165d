"""Puzzles and games against solvers that share nothing with the generators."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vdmfewshot.data.generated import chess_mates, connect4, hitori, sudoku


def rows_that_fit(board, box):
    """All completions of a sudoku, row by row: a row is a permutation, checked against the columns and boxes above."""
    side = box * box
    choices = [
        [p for p in itertools.permutations(range(1, side + 1)) if all(g in (0, v) for g, v in zip(row, p, strict=True))]
        for row in board
    ]
    found = []

    def extend(rows):
        y = len(rows)
        if y == side:
            found.append(np.array(rows))
            return
        for row in choices[y]:
            above = rows[y // box * box :]
            boxed = all(
                row[x] not in other[x // box * box : x // box * box + box] for other in above for x in range(side)
            )
            if boxed and all(row[x] != other[x] for other in rows for x in range(side)):
                extend([*rows, row])

    extend([])
    return found


def test_mini_sudokus_have_exactly_the_solution_that_is_given():
    rng = np.random.default_rng(0)
    for _ in range(60):
        board, solved = sudoku.puzzle(2, 8)(rng)
        assert (board > 0).sum() == 8
        (only,) = rows_that_fit(board, 2)
        assert (only == solved).all()


def exact_covers(columns, rows, partial):
    """Knuth's algorithm X on dictionaries of sets."""
    if not columns:
        yield list(partial)
        return
    column = min(columns, key=lambda c: len(columns[c]))
    for row in list(columns[column]):
        removed = []
        for c in rows[row]:
            for other in columns[c]:
                for k in rows[other]:
                    if k != c:
                        columns[k].discard(other)
            removed.append(columns.pop(c))
        yield from exact_covers(columns, rows, [*partial, row])
        for c in reversed(rows[row]):
            columns[c] = removed.pop()
            for other in columns[c]:
                for k in rows[other]:
                    if k != c:
                        columns[k].add(other)


def test_sudokus_have_exactly_the_solution_that_is_given():
    rng = np.random.default_rng(1)
    for _ in range(12):
        board, solved = sudoku.puzzle(3, 40)(rng)
        assert (board > 0).sum() == 40
        rows = {
            (y, x, v): [("cell", y, x), ("row", y, v), ("column", x, v), ("box", y // 3, x // 3, v)]
            for y, x, v in itertools.product(range(9), range(9), range(1, 10))
            if board[y, x] in (0, v)
        }
        columns = {}
        for row, covered in rows.items():
            for c in covered:
                columns.setdefault(c, set()).add(row)
        covers = list(itertools.islice(exact_covers(columns, rows, []), 2))
        assert len(covers) == 1
        assert all(solved[y, x] == v for y, x, v in covers[0])


def test_a_board_of_two_solutions_is_seen_as_such():
    _, solved = sudoku.puzzle(2, 8)(np.random.default_rng(0))
    assert len(sudoku.solutions(np.zeros_like(solved))) == 2


def shadings(board):
    """All solutions of a Hitori by backtracking over cells; whites hang together by union of labels."""
    side = len(board)

    def whole(shade):
        white = [c for c in itertools.product(range(side), repeat=2) if not shade[c]]
        label = {c: i for i, c in enumerate(white)}
        for _ in white:
            for (y, x), (v, u) in itertools.product(white, white):
                if abs(y - v) + abs(x - u) == 1:
                    label[y, x] = label[v, u] = min(label[y, x], label[v, u])
        return len(set(label.values())) == 1

    def extend(shade, index):
        if index == side * side:
            return [dict(shade)] if whole(shade) else []
        y, x = divmod(index, side)
        found = []
        lined = [(y, u) for u in range(x)] + [(v, x) for v in range(y)]
        if not any(board[c] == board[y, x] and not shade[c] for c in lined):
            found += extend({**shade, (y, x): False}, index + 1)
        if not (shade.get((y - 1, x)) or (x and shade.get((y, x - 1)))):
            found += extend({**shade, (y, x): True}, index + 1)
        return found

    return extend({}, 0)


def test_hitoris_have_exactly_the_solution_that_is_given():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(8):
        board, answer = hitori.draw(rng)
        (only,) = shadings(board)
        assert all(answer[c] == shade for c, shade in only.items())
        shares.append(answer.mean())
    assert 0.2 <= np.mean(shares) <= 0.28


def lines(board, player):
    """Whether a player has four in a row, by looking along all lines of four cells."""
    height, width = board.shape
    for y, x, (dy, dx) in itertools.product(range(height), range(width), [(0, 1), (1, 0), (1, 1), (1, -1)]):
        cells = [(y + k * dy, x + k * dx) for k in range(4)]
        if all(0 <= v < height and 0 <= u < width and board[v, u] == player for v, u in cells):
            return True
    return False


def test_connect_four_has_one_winning_move_and_it_is_played():
    rng = np.random.default_rng(0)
    for _ in range(30):
        board, after = connect4.draw(rng)
        assert (board == 1).sum() == (board == 2).sum() >= 4
        assert not lines(board, 1)
        assert not lines(board, 2)
        ((y, x),) = np.argwhere(board != after).tolist()
        assert (board[y:, x] > 0).sum() == 5 - y
        assert after[y, x] == 1
        assert lines(after, 1)
        winning = []
        for column in range(7):
            rows = np.flatnonzero(board[:, column] == 0)
            if len(rows):
                tried = board.copy()
                tried[rows[-1], column] = 1
                winning += [column] if lines(tried, 1) else []
        assert winning == [x]


def test_chess_positions_have_one_mating_move_and_it_is_played():
    chess = pytest.importorskip("chess")
    rng = np.random.default_rng(0)
    for _ in range(4):
        before, after = chess_mates.draw(rng)
        board = chess.Board(None)
        for y, x in np.argwhere(before > 0).tolist():
            piece = chess.Piece((int(before[y, x]) - 1) % 6 + 1, bool(before[y, x] <= 6))
            board.set_piece_at(chess.square(x, 7 - y), piece)
        board.turn = chess.WHITE
        assert board.is_valid()
        # Castling rights are not on the picture, and no mate here castles.
        results = []
        for move in list(board.legal_moves):
            board.push(move)
            if not list(board.legal_moves) and board.is_check():
                results.append(chess_mates.to_cells(board))
            board.pop()
        assert len(results) == 1
        assert (results[0] == after).all()


def test_chess_says_what_to_install(monkeypatch):
    monkeypatch.setattr(chess_mates, "available", lambda: False)
    with pytest.raises(ImportError, match=r"vdmfewshot\[boards\]"):
        chess_mates.draw(np.random.default_rng(0))
