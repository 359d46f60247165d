"""ARC grids: coloured cells with border lines on a canvas of a colour of its own, read without knowing the size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs import grid_layout
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.frame import on_canvas
from vdmfewshot.codecs.grid_layout import Style
from vdmfewshot.codecs.grid_reader import GridReader
from vdmfewshot.codecs.palette import ARC_16_PALETTE, ARC_PALETTE, MAZE_PALETTE, Color, max_min_palette

Grid = NDArray[np.int64]
Floats = NDArray[np.float32]
SizeMode = Literal["inferred", "oracle", "train_rule"]
PaletteName = Literal["arc", "separated", "arc_16", "separated_13", "maze"]

#: colour of border lines, as in the papers (arXiv 2510.24448)
BORDER_COLOR: Color = (85, 85, 85)
#: mid-violet: 118 RGB units from every cell and border colour, and no channel saturates under a shift of ±60, so the
#: shift can always be read from it. White saturates, and black is both a cell colour and what a failed frame shows.
CANVAS_COLOR: Color = (125, 60, 195)
#: largest side of an ARC grid
MAX_SIDE = 30
#: smallest cell that is drawn with lines around it: of less, lines take too much, and small autoencoders wipe them out
LINED_CELL = 4
#: least RGB distance of mean border and mean canvas for a grid to count as drawn
DRAWN = 45.0
#: the same for a border without lines between cells, which blurs into canvas and cells
DRAWN_BORDER = 25.0
#: what canvas and lines may differ from theirs, as a share of fully wrong pixels: drawn grids that are badly degraded
#: reach .5 and seldom .7, photographs that happen to look like cells begin at .6
FOREIGN = 0.6
#: least share of the variance in and around the grid that the drawn grid must explain
EXPLAINED = 0.45
#: most doubt, see ``_doubt``, with lines between cells and without: of 730 degraded grids that were read exactly none
#: had more than .70 and .49; of 1720 readings of photographs those that got past the limits above had .79 and .50
DOUBT, DOUBT_BARE = 0.75, 0.5
#: residual, in RGB units, and difference of the surround that count as much as an unexplained frame
NOISY, STRANGE = 50.0, 8.0
#: what canvas and border may differ from theirs where nothing but they tells a grid without lines from a photograph
GONE = 0.9
#: share of explained variance at which thin lines that blurred away no longer count against a grid; of 1200 readings
#: of photographs, at cells of 2 to 396 pixels, none got beyond .91
CERTAIN = 0.95


class GridCodec(Codec[Grid]):
    """Label = (h, w) int64 grid, 1 to 30 a side; size n draws as n cell + (n - 1) gap + 2 border pixels.

    Its values are the indices of the palette's colours, 0-9 for "arc".

    Args:
        cell: side of a cell in pixels, at least 2.
        border: width of the grey lines around the grid in pixels; 0, as mazes of the papers have it, only in "oracle".
        gap: width of the grey lines between cells, 0 for none; that of the border by default.
        canvas_colour: RGB around the grid; at least 60 units from every cell colour unless ``size_mode`` is "oracle".
        palette: "arc", the standard colours (smallest distance 73); "separated", 10 max-min colours; "arc_16" and
            "separated_13", of as many colours; or "maze", the papers' five.
        size_mode: "inferred" reads the size from the frame alone; "oracle" is told it (the papers' protocol, for
            parity only: it leaks the answer's size); "train_rule" reads it, and prefers a size derived from the
            training pairs among sizes that explain the frame almost equally well.
    """

    def __init__(
        self,
        cell: int,
        border: int = 1,
        canvas_colour: Sequence[int] = CANVAS_COLOR,
        palette: PaletteName = "arc",
        size_mode: SizeMode = "inferred",
        gap: int | None = None,
    ) -> None:
        if cell < 2:
            raise ValueError(f"cell must be at least 2 px, got {cell}; use a larger canvas or a smaller grid")
        if border < (0 if size_mode == "oracle" else 1):
            raise ValueError(f"border must be at least 1 px, got {border}; without lines sizes cannot be read")
        if gap is not None and gap < 0:
            raise ValueError(f"gap must be at least 0 px, got {gap}; 0 draws no lines between cells")
        if palette not in get_args(PaletteName):
            raise ValueError(f"palette must be one of {get_args(PaletteName)}, got {palette!r}")
        if size_mode not in get_args(SizeMode):
            raise ValueError(f"size_mode must be one of {get_args(SizeMode)}, got {size_mode!r}")
        if len(canvas_colour) != 3 or not all(0 <= value <= 255 for value in canvas_colour):
            raise ValueError(f"canvas_colour must be three values 0-255, got {canvas_colour!r}")
        self.cell = int(cell)
        self.border = int(border)
        self.gap = self.border if gap is None else int(gap)
        self.canvas_colour: Color = (int(canvas_colour[0]), int(canvas_colour[1]), int(canvas_colour[2]))
        self.palette: PaletteName = palette
        self.size_mode: SizeMode = size_mode
        self._check_canvas_colour()

    def _check_canvas_colour(self) -> None:
        others = np.array([*self.colors, BORDER_COLOR], dtype=np.float32)
        gap = float(np.linalg.norm(others - np.array(self.canvas_colour, dtype=np.float32), axis=1).min())
        if gap < 60.0 and self.size_mode != "oracle":
            raise ValueError(
                f"canvas_colour must be 60 RGB units from every cell and border colour to tell sizes apart, "
                f"{self.canvas_colour} is {gap:.0f}; try {CANVAS_COLOR}"
            )

    @classmethod
    def paper_parity(cls, cell: int, palette: PaletteName = "arc") -> GridCodec:
        """Layout of the papers, told the true size to decode: black canvas and 2 px borders; mazes on white without."""
        if palette == "maze":
            return cls(cell, border=0, canvas_colour=(255, 255, 255), palette=palette, size_mode="oracle")
        return cls(cell, border=2, canvas_colour=(0, 0, 0), palette=palette, size_mode="oracle")

    @classmethod
    def fitted(cls, shapes: Iterable[tuple[int, int]], canvas: tuple[int, int], **options: Any) -> GridCodec:
        """The largest cells that fit, with lines between them where they are then ``LINED_CELL`` px or more.

        Args:
            shapes: as in ``cell_for``.
            canvas: (H, W) of the frame in pixels.
            **options: further arguments of the class.

        Raises:
            ValueError: as ``cell_for``.
        """
        known = list(shapes)
        bare = cls.cell_for(known, canvas, gap=0)
        lined = max(side for shape in known for side in shape) * (LINED_CELL + 1) + 1 <= min(canvas)
        return cls(cls.cell_for(known, canvas), **options) if lined else cls(bare, gap=0, **options)

    @staticmethod
    def cell_for(
        shapes: Iterable[tuple[int, int]], canvas: tuple[int, int], border: int = 1, gap: int | None = None
    ) -> int:
        """Largest cell in whole pixels with which a square grid of the largest given side fits the canvas.

        Args:
            shapes: (h, w) of the training inputs and outputs and of the test *input*; never of the test output.
            canvas: (H, W) of the frame in pixels.
            border: width of the lines around the grid in pixels.
            gap: width of the lines between cells; that of the border by default.

        Raises:
            ValueError: if there is no shape, or the cell would be smaller than 2 px.
        """
        sides = [side for shape in shapes for side in shape]
        if not sides:
            raise ValueError("cell_for needs at least one grid shape, got none")
        largest, inner = max(sides), border if gap is None else gap
        lines = 2 * border + inner * (largest - 1)
        cell = (min(canvas) - lines) // largest
        if cell < 2:
            needed = largest * 2 + lines
            raise ValueError(f"cells must be at least 2 px: a side of {largest} needs {needed} px, canvas is {canvas}")
        return cell

    @property
    def _style(self) -> Style:
        return Style(self.cell, self.border, self.gap)

    @property
    def colors(self) -> tuple[Color, ...]:
        """RGB of each value."""
        fixed = {"arc": ARC_PALETTE, "arc_16": ARC_16_PALETTE, "maze": MAZE_PALETTE}
        if self.palette in fixed:
            return fixed[self.palette]
        others = 12 if self.palette == "separated_13" else 9
        return ((0, 0, 0), *max_min_palette(others, anchors=((0, 0, 0), BORDER_COLOR, self.canvas_colour)))

    def encode(self, label: Grid, box: Letterbox) -> NDArray[np.uint8]:
        """Draw a grid centred on the canvas (offsets rounded down).

        Raises:
            ValueError: if the grid is no (h, w) integer array of the palette's values and sides 1-30, or does not fit.
        """
        grid = np.asarray(label)
        if grid.ndim != 2 or not np.issubdtype(grid.dtype, np.integer):
            raise ValueError(f"a grid must be a (h, w) integer array, got {grid.shape} {grid.dtype}")
        if not all(1 <= side <= MAX_SIDE for side in grid.shape):
            raise ValueError(f"grid sides must be 1 to {MAX_SIDE}, got {grid.shape}")
        if grid.min() < 0 or grid.max() >= len(self.colors):
            raise ValueError(f"grid values must be 0 to {len(self.colors) - 1}, got {grid.min()} to {grid.max()}")
        spans = [self._style.span(side) for side in grid.shape]
        if spans[0] > box.canvas[0] or spans[1] > box.canvas[1]:
            raise ValueError(f"a {grid.shape} grid of {self.cell} px cells needs {spans} px, canvas is {box.canvas}")
        top, left = ((length - span) // 2 for length, span in zip(box.canvas, spans, strict=True))
        lines = tuple(start + self._style.starts(side) for start, side in zip((top, left), grid.shape, strict=True))
        roles = grid_layout.role_map((lines[0], lines[1]), self._style, box.canvas)
        table = np.array([*self._flat_colors(grid), self.canvas_colour, BORDER_COLOR], dtype=np.uint8)
        return table[roles]

    def _flat_colors(self, grid: Grid) -> list[Color]:
        return [self.colors[value] for value in grid.ravel().tolist()]

    def decode(
        self,
        frame: NDArray[np.floating[Any]] | NDArray[np.uint8],
        box: Letterbox,
        size: tuple[int, int] | None = None,
    ) -> Decoded[Grid]:
        """Read a grid: its size and place by render-and-compare, then its colours under a global shift.

        Args:
            frame: (H, W, 3) RGB in [0, 255]; may hold anything.
            box: placement; only ``canvas`` matters.
            size: (h, w) of the answer in "oracle" mode, of the training rule in "train_rule" mode (optional);
                ignored in "inferred" mode.

        Returns:
            grid, confidence and ``size_margin``, ``cell_margin``, ``residual``, ``explained``, ``contrast``,
            ``surround``, ``dx`` and ``dy``. A frame without a drawn grid gives a 1 x 1 zero grid of confidence 0,
            which must never be scored as right.

        Raises:
            ValueError: in "oracle" mode without a size that fits the canvas.
        """
        sizes = self._sizes(box.canvas, size)
        picture = on_canvas(frame, box)
        if not sizes[0] or not sizes[1] or float(cv2.meanStdDev(picture)[1].max()) < 1.0:
            return _nothing({})
        axes = [
            grid_layout.axis_hypotheses(length, self._style, tried)
            for length, tried in zip(box.canvas, sizes, strict=True)
        ]
        reader = self._reader()
        fit = reader.locate(picture, axes[0], axes[1])
        if self.size_mode == "train_rule" and size is not None:
            fit = reader.prefer(fit, size, axes[0], axes[1])
        reading, details = reader.read(picture, fit)
        if reading is None or not self._is_drawn(details):
            return _nothing(details)
        return Decoded(reading.grid, confidence=_confidence(details), details=details)

    def _is_drawn(self, details: Mapping[str, float]) -> bool:
        """Whether a grid was drawn, and is not read into something else."""
        if not self.border:
            return details["explained"] >= EXPLAINED
        least, most = (DRAWN, DOUBT) if self.gap else (DRAWN_BORDER, DOUBT_BARE)
        clean = details["surround"] <= FOREIGN and _doubt(details) <= most
        certain = details["explained"] >= CERTAIN and (self.gap > 0 or details["surround"] <= GONE)
        return (clean or certain) and details["contrast"] >= least and details["explained"] >= EXPLAINED

    def _sizes(self, canvas: tuple[int, int], size: tuple[int, int] | None) -> list[tuple[int, ...]]:
        """Sizes tried per axis: all that fit the canvas, or the given one."""
        around = 2 * self.border - self.gap
        limits = [min(MAX_SIDE, (length - around) // self._style.pitch) for length in canvas]
        if self.size_mode != "oracle":
            return [tuple(range(1, limit + 1)) for limit in limits]
        if size is None or not all(1 <= side <= limit for side, limit in zip(size, limits, strict=True)):
            raise ValueError(f"oracle mode must be told a size of 1 to {limits} cells, got {size}")
        return [(int(side),) for side in size]

    def _reader(self) -> GridReader:
        cells, canvas, line = (np.array(c, dtype=np.float32) for c in (self.colors, self.canvas_colour, BORDER_COLOR))
        return GridReader(self._style, cells, canvas, line)

    def spec(self) -> dict[str, Any]:
        """Cell, border, canvas colour, palette name, size mode, and gap where it is not the border's width."""
        return {
            "cell": self.cell,
            "border": self.border,
            "canvas_colour": list(self.canvas_colour),
            "palette": self.palette,
            "size_mode": self.size_mode,
            **({} if self.gap == self.border else {"gap": self.gap}),
        }


def _doubt(details: Mapping[str, float]) -> float:
    """How much speaks against a grid: variance that it does not explain, cells of no colour, a foreign surround."""
    return 1.0 - details["explained"] + details["residual"] / NOISY + details["surround"] / STRANGE


def _nothing(details: dict[str, float]) -> Decoded[Grid]:
    """What a frame without a grid decodes to."""
    return Decoded(np.zeros((1, 1), dtype=np.int64), confidence=0.0, details=details)


def _confidence(details: Mapping[str, float]) -> float:
    """Explained variance times the geometric mean of size and cell margin, softened; above 0 for a drawn grid."""
    margins = float(np.sqrt((0.1 + details["size_margin"]) * (0.1 + details["cell_margin"]))) / 1.1
    return float(np.clip(details["explained"] * margins, 0.01, 1.0))
