"""Connect four, 6 x 7: player 1 is to move and has exactly one move that wins at once."""

from __future__ import annotations

import numpy as np

from vdmfewshot.data.generated.boards import Board
from vdmfewshot.drawing.canvas import Rng

ROWS, COLUMNS = 6, 7
#: discs on the board, at least
TURNS = 8
#: how often a player sees neither a win nor a threat
BLUNDER = 0.3


def draw(rng: Rng) -> tuple[Board, Board]:
    """A position of a game and the board after the winning move; 0 is empty, the top row comes first."""
    while True:
        board = np.zeros((ROWS, COLUMNS), np.int64)
        player, over = 1, False
        while not over and (board[0] == 0).any():
            winning = winning_columns(board, 1) if player == 1 else []
            if len(winning) == 1 and (board > 0).sum() >= TURNS:
                return board, dropped(board, winning[0], 1)
            board = dropped(board, _choose(rng, board, player), player)
            over = won(board, player)
            player = 3 - player


def _choose(rng: Rng, board: Board, player: int) -> int:
    """Win, else block, else any column, rather in the middle; sometimes without looking."""
    if rng.random() >= BLUNDER:
        for of in (player, 3 - player):
            winning = winning_columns(board, of)
            if winning:
                return winning[0]
    weights = np.where(board[0] == 0, [1, 2, 3, 4, 3, 2, 1], 0)
    return int(rng.choice(COLUMNS, p=weights / weights.sum()))


def dropped(board: Board, column: int, player: int) -> Board:
    """The board after a disc fell into a column that has room."""
    after = board.copy()
    after[(board[:, column] == 0).sum() - 1, column] = player
    return after


def winning_columns(board: Board, player: int) -> list[int]:
    """Columns that give a player four in a row at once."""
    return [x for x in range(COLUMNS) if board[0, x] == 0 and won(dropped(board, x, player), player)]


def won(board: Board, player: int) -> bool:
    """Whether a player has four in a row, across, down or diagonally."""
    own = board == player
    across = own[:, :-3] & own[:, 1:-2] & own[:, 2:-1] & own[:, 3:]
    down = own[:-3] & own[1:-2] & own[2:-1] & own[3:]
    falling = own[:-3, :-3] & own[1:-2, 1:-2] & own[2:-1, 2:-1] & own[3:, 3:]
    rising = own[3:, :-3] & own[2:-1, 1:-2] & own[1:-2, 2:-1] & own[:-3, 3:]
    return bool(across.any() or down.any() or falling.any() or rising.any())
