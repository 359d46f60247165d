"""Chess, mate in one: white is to move and has exactly one move that mates (extra ``boards``: python-chess).

The positions come from random games, since the set of the papers cannot be had.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from vdmfewshot.data.generated.boards import Board
from vdmfewshot.drawing.canvas import Rng

SIDE = 8
#: plies after which a game is given up
PLIES = 160
#: colours of the pieces: white pawn, knight, bishop, rook, queen, king are 1 to 6, black 7 to 12
BLACK = 6


def available() -> bool:
    """Whether python-chess is installed."""
    return importlib.util.find_spec("chess") is not None


def draw(rng: Rng) -> tuple[Board, Board]:
    """A position and the board after the mating move, rank 8 on top.

    Raises:
        ImportError: if python-chess is not installed.
    """
    if not available():
        raise ImportError("chess positions need python-chess: pip install 'vdmfewshot[boards]'")
    import chess

    while True:
        board = chess.Board()
        for _ in range(PLIES):
            if board.turn == chess.WHITE and len(mates := mating_moves(board)) == 1:
                before = to_cells(board)
                board.push(mates[0])
                return before, to_cells(board)
            moves = list(board.legal_moves)
            if not moves:
                break
            board.push(_choose(rng, board, moves))


def mating_moves(board: Any) -> list[Any]:
    """Moves that end the game by mate."""
    found = []
    for move in board.legal_moves:
        if board.gives_check(move):
            board.push(move)
            if board.is_checkmate():
                found.append(move)
            board.pop()
    return found


def _choose(rng: Rng, board: Any, moves: list[Any]) -> Any:
    """Any move, for white rather one that takes something: games get open and kings exposed."""
    takes = [move for move in moves if board.is_capture(move)] if board.turn else []
    pool = takes if takes and rng.random() < 0.7 else moves
    return pool[int(rng.integers(len(pool)))]


def to_cells(board: Any) -> Board:
    """(8, 8) values of a position, as white sees it."""
    cells = np.zeros((SIDE, SIDE), np.int64)
    for square, piece in board.piece_map().items():
        cells[7 - square // SIDE, square % SIDE] = piece.piece_type + (0 if piece.color else BLACK)
    return cells
