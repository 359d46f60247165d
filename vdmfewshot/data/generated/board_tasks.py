"""Every board task of arXiv 2510.24448: how it is drawn there, and how small models get it."""

from __future__ import annotations

from dataclasses import dataclass

from vdmfewshot.codecs.grid import GridCodec, PaletteName
from vdmfewshot.data.generated import automata, chess_mates, connect4, hitori, mazes, sudoku
from vdmfewshot.data.generated.boards import Draw


@dataclass(frozen=True)
class BoardTask:
    """How examples of a task are made and drawn.

    Attributes:
        draw: random numbers → board and answer.
        shape: (rows, columns) of both.
        paper: (height, width, cell) in pixels in the paper.
        palette: of small drawings, which have lines around them and a canvas of their own colour.
        paper_palette: of the paper's drawings.
        support: draws training pairs, where they are of another kind than queries.
        route: whether the answer is a way, which is then scored as one.
    """

    draw: Draw
    shape: tuple[int, int]
    paper: tuple[int, int, int]
    palette: PaletteName = "arc"
    paper_palette: PaletteName = "arc"
    support: Draw | None = None
    route: bool = False

    def codec(self, canvas: tuple[int, int], paper_parity: bool) -> GridCodec:
        """As in the paper, or with the largest cells that fit; the size is read from the frame then.

        Raises:
            ValueError: if the canvas is too small, or not the paper's with ``paper_parity``.
        """
        height, width, cell = self.paper
        if not paper_parity:
            return GridCodec.fitted([self.shape], canvas, palette=self.palette)
        if canvas != (height, width):
            raise ValueError(
                f"paper_parity draws this task on {height} x {width} pixels (height x width), got "
                f"{canvas[0]} x {canvas[1]}; set height to {height} and width to {width}"
            )
        return GridCodec.paper_parity(cell, self.paper_palette)


def _square(side: int, canvas: int, cell: int = 30) -> tuple[tuple[int, int], tuple[int, int, int]]:
    return (side, side), (canvas, canvas, cell)


def _route(draw: Draw, side: int, canvas: int, support: Draw | None = None) -> BoardTask:
    shape, paper = _square(side, canvas, 16)
    return BoardTask(draw, shape, paper, "maze", "maze", support, route=True)


BOARDS: dict[str, BoardTask] = {
    "hitori": BoardTask(hitori.draw, *_square(5, 176)),
    "mini_sudoku": BoardTask(sudoku.puzzle(box=2, givens=8), *_square(4, 144)),
    "sudoku": BoardTask(sudoku.puzzle(box=3, givens=40), *_square(9, 304)),
    "connect4": BoardTask(connect4.draw, (connect4.ROWS, connect4.COLUMNS), (240, 240, 30)),
    "chess_mate": BoardTask(chess_mates.draw, *_square(8, 272), "separated_13", "arc_16"),
    "maze": _route(mazes.maze(mazes.MAZE), mazes.MAZE, 336),
    "maze_generalisation": _route(mazes.maze(mazes.MAZE), mazes.MAZE, 336, mazes.maze(mazes.SMALL_MAZE)),
    "shortest_path": _route(mazes.shortest_path, mazes.MAP, 240),
    **{
        f"eca_{rule}": BoardTask(
            automata.elementary(rule), (automata.STATES, automata.WIDTH), (128, 256, 16), paper_palette="maze"
        )
        for rule in automata.ELEMENTARY
    },
    **{
        name: BoardTask(automata.life_like(rule), *_square(automata.SIDE, 272))
        for name, rule in automata.LIFE_LIKE.items()
    },
    **{
        f"ant_{steps}": BoardTask(automata.ant(steps), *_square(automata.SIDE, 128, 16), paper_palette="maze")
        for steps in automata.HORIZONS
    },
}
