"""ARC grids: coloured cells with border lines on a canvas of a colour of its own, read without knowing the size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.codecs import grid_colors, grid_layout
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.frame import on_canvas
from vdmfewshot.codecs.grid_colors import Reading
from vdmfewshot.codecs.grid_layout import TRUNCATE, Axis, Costs, Layout
from vdmfewshot.codecs.palette import (
    ARC_PALETTE,
    MAX_SHIFT,
    Color,
    max_min_palette,
    mean_shift,
    shifted,
    squared_distances,
)
from vdmfewshot.geometry import Letterbox

Grid = NDArray[np.int64]
Floats = NDArray[np.float32]
SizeMode = Literal["inferred", "oracle", "train_rule"]
PaletteName = Literal["arc", "separated"]

#: colour of border lines, as in the papers (arXiv 2510.24448)
BORDER_COLOR: Color = (85, 85, 85)
#: mid-violet: 118 RGB units from every cell and border colour, and no channel saturates under a shift of ±60, so the
#: shift can always be read from it. White saturates, and black is both a cell colour and what a failed frame shows.
CANVAS_COLOR: Color = (125, 60, 195)
#: largest side of an ARC grid
MAX_SIDE = 30
#: least RGB distance of mean border and mean canvas for a grid to count as drawn
DRAWN = 45.0
#: least share of the variance in and around the grid that the drawn grid must explain
EXPLAINED = 0.6


@dataclass(frozen=True)
class _Fit:
    """A located grid: per-size costs, its place, and the shift under which it was found."""

    costs: Floats
    layout: Layout
    shift: Floats
    maps: Costs
    start: Floats

    @property
    def shifts(self) -> list[Floats]:
        """The calibrated shift and, where it differs, the one that calibration started from."""
        return [self.shift] if np.abs(self.shift - self.start).max() < 4.0 else [self.shift, self.start]

    @property
    def cost(self) -> float:
        return float(self.costs.min())


class GridCodec(Codec[Grid]):
    """Label = (h, w) int64 grid of values 0-9, 1 to 30 a side; size n draws as n (cell + border) + border pixels.

    Args:
        cell: side of a cell in pixels, at least 2.
        border: width of the grey lines around and between cells in pixels.
        canvas_colour: RGB around the grid; at least 60 units from every cell colour unless ``size_mode`` is "oracle".
        palette: "arc", the standard colours (smallest distance 73), or "separated", 10 max-min colours.
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
    ) -> None:
        if cell < 2:
            raise ValueError(f"cell must be at least 2 px, got {cell}; use a larger canvas or a smaller grid")
        if border < 1:
            raise ValueError(f"border must be at least 1 px, got {border}; without lines sizes cannot be read")
        if palette not in get_args(PaletteName):
            raise ValueError(f"palette must be one of {get_args(PaletteName)}, got {palette!r}")
        if size_mode not in get_args(SizeMode):
            raise ValueError(f"size_mode must be one of {get_args(SizeMode)}, got {size_mode!r}")
        if len(canvas_colour) != 3 or not all(0 <= value <= 255 for value in canvas_colour):
            raise ValueError(f"canvas_colour must be three values 0-255, got {canvas_colour!r}")
        self.cell = int(cell)
        self.border = int(border)
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
    def paper_parity(cls, cell: int) -> GridCodec:
        """Layout of the papers (400 x 400, black canvas, 2 px borders, cell >= 11), told the true size to decode."""
        return cls(cell, border=2, canvas_colour=(0, 0, 0), size_mode="oracle")

    @staticmethod
    def cell_for(shapes: Iterable[tuple[int, int]], canvas: tuple[int, int], border: int = 1) -> int:
        """Largest cell in whole pixels with which a square grid of the largest given side fits the canvas.

        Args:
            shapes: (h, w) of the training inputs and outputs and of the test *input*; never of the test output.
            canvas: (H, W) of the frame in pixels.
            border: line width in pixels.

        Raises:
            ValueError: if there is no shape, or the cell would be smaller than 2 px.
        """
        sides = [side for shape in shapes for side in shape]
        if not sides:
            raise ValueError("cell_for needs at least one grid shape, got none")
        largest, space = max(sides), min(canvas)
        cell = (space - border * (largest + 1)) // largest
        if cell < 2:
            needed = largest * (2 + border) + border
            raise ValueError(f"cells must be at least 2 px: a side of {largest} needs {needed} px, canvas is {canvas}")
        return cell

    @property
    def colors(self) -> tuple[Color, ...]:
        """RGB of the values 0-9."""
        if self.palette == "arc":
            return ARC_PALETTE
        return ((0, 0, 0), *max_min_palette(9, anchors=((0, 0, 0), BORDER_COLOR, self.canvas_colour)))

    def encode(self, label: Grid, box: Letterbox) -> NDArray[np.uint8]:
        """Draw a grid centred on the canvas (offsets rounded down).

        Raises:
            ValueError: if the grid is not a (h, w) integer array of values 0-9 and sides 1-30, or does not fit.
        """
        grid = np.asarray(label)
        if grid.ndim != 2 or not np.issubdtype(grid.dtype, np.integer):
            raise ValueError(f"a grid must be a (h, w) integer array, got {grid.shape} {grid.dtype}")
        if not all(1 <= side <= MAX_SIDE for side in grid.shape):
            raise ValueError(f"grid sides must be 1 to {MAX_SIDE}, got {grid.shape}")
        if grid.min() < 0 or grid.max() > 9:
            raise ValueError(f"grid values must be 0 to 9, got {grid.min()} to {grid.max()}")
        spans = [side * (self.cell + self.border) + self.border for side in grid.shape]
        if spans[0] > box.canvas[0] or spans[1] > box.canvas[1]:
            raise ValueError(f"a {grid.shape} grid of {self.cell} px cells needs {spans} px, canvas is {box.canvas}")
        top, left = ((length - span) // 2 for length, span in zip(box.canvas, spans, strict=True))
        lines = tuple(
            start + np.arange(side + 1) * (self.cell + self.border)
            for start, side in zip((top, left), grid.shape, strict=True)
        )
        roles = grid_layout.role_map((lines[0], lines[1]), self.border, box.canvas)
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
            ``dx``, ``dy`` and the shift. A frame without a drawn grid gives a 1 x 1 zero grid of confidence 0,
            which must never be scored as right.

        Raises:
            ValueError: in "oracle" mode without a size that fits the canvas.
        """
        sizes = self._sizes(box.canvas, size)
        picture = on_canvas(frame, box)
        if not sizes[0] or not sizes[1] or float(picture.std(axis=(0, 1)).max()) < 1.0:
            return _nothing({})
        axes = [
            grid_layout.axis_hypotheses(length, self.cell, self.border, tried)
            for length, tried in zip(box.canvas, sizes, strict=True)
        ]
        fit = self._locate(picture, axes[0], axes[1])
        if self.size_mode == "train_rule" and size is not None:
            fit = self._prefer(fit, size, axes[0], axes[1])
        return self._read(picture, fit, axes[0], axes[1])

    def _sizes(self, canvas: tuple[int, int], size: tuple[int, int] | None) -> list[tuple[int, ...]]:
        """Sizes tried per axis: all that fit the canvas, or the given one."""
        pitch = self.cell + self.border
        limits = [min(MAX_SIDE, (length - self.border) // pitch) for length in canvas]
        if self.size_mode != "oracle":
            return [tuple(range(1, limit + 1)) for limit in limits]
        if size is None or not all(1 <= side <= limit for side, limit in zip(size, limits, strict=True)):
            raise ValueError(f"oracle mode must be told a size of 1 to {limits} cells, got {size}")
        return [(int(side),) for side in size]

    def _locate(self, picture: Floats, rows: Axis, columns: Axis) -> _Fit:
        """Best size, offset and shift: each candidate shift is located, then the best re-estimated up to 4 times."""
        fits = [self._fit(picture, shift, rows, columns) for shift in self._candidate_shifts(picture)]
        best = min(fits, key=lambda fit: fit.cost)
        start = best.shift
        for _ in range(4):
            shift = self._calibrate(picture, best)
            if np.abs(shift - best.shift).max() < 1.0:
                break
            again = self._fit(picture, shift, rows, columns)
            if again.cost >= best.cost:
                break
            best = again
        return replace(best, start=start)

    def _candidate_shifts(self, picture: Floats) -> list[Floats]:
        """No shift, and those under which a side of the frame shows canvas or, for a grid that fills it, border."""
        sides = (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:])
        candidates: list[Floats] = [np.zeros(3, dtype=np.float32)]
        for color in (self.canvas_colour, BORDER_COLOR):
            for side in sides:
                shift = np.median(side.reshape(-1, 3), axis=0) - np.array(color, dtype=np.float32)
                new = all(np.abs(shift - other).max() > 12.0 for other in candidates)
                if np.abs(shift).max() <= MAX_SHIFT and new:
                    candidates.append(shift.astype(np.float32))
        return candidates

    def _fit(self, picture: Floats, shift: Floats, rows: Axis, columns: Axis) -> _Fit:
        maps = self._maps(picture, shift)
        costs, offsets = grid_layout.best_layouts(grid_layout.layout_costs(maps, rows, columns), rows, columns)
        row, column = np.unravel_index(int(costs.argmin()), costs.shape)
        layout = _layout(rows, columns, int(row), int(column), offsets)
        return _Fit(costs, layout, shift, maps, start=shift)

    def _maps(self, picture: Floats, shift: Floats) -> Costs:
        """Truncated squared distance of every pixel to canvas, border and its nearest cell colour."""
        table = shifted([*self.colors, BORDER_COLOR, self.canvas_colour], shift)
        costs = np.minimum(squared_distances(picture, table) / TRUNCATE**2, 1.0)
        return Costs(canvas=costs[..., 11], border=costs[..., 10], cell=costs[..., :10].min(axis=-1))

    def _calibrate(self, picture: Floats, fit: _Fit) -> Floats:
        """Shift of the frame against the grid that was read from it: cells, borders and canvas together."""
        lines = grid_layout.trace_lines(fit.maps, fit.layout, self.cell, self.border)
        roles = grid_layout.role_map(lines, self.border, picture.shape[:2])
        cells = self._observe(picture, lines)
        reading = grid_colors.read_shifted(cells, self._colors()[0], fit.shift)
        drawn = np.array([*self._flat_colors(reading.grid), self.canvas_colour, BORDER_COLOR], dtype=np.float32)[roles]
        return mean_shift(picture.reshape(-1, 3), drawn.reshape(-1, 3), fit.shift)

    def _colors(self) -> tuple[Floats, Floats, Floats]:
        """Cell, canvas and border colours as (10, 3), (3,) and (3,) floats."""
        cells = np.array(self.colors, dtype=np.float32)
        return cells, np.array(self.canvas_colour, dtype=np.float32), np.array(BORDER_COLOR, dtype=np.float32)

    def _observe(self, picture: Floats, lines: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Floats:
        pixels = [
            grid_layout.cell_pixels(positions, self.cell, self.border, length)
            for positions, length in zip(lines, picture.shape[:2], strict=True)
        ]
        return grid_colors.observe(picture, pixels[0], pixels[1])

    def _prefer(self, fit: _Fit, size: tuple[int, int], rows: Axis, columns: Axis) -> _Fit:
        """The layout of the rule's size, if it costs at most half a grid line more than the best."""
        if size[0] not in rows.sizes or size[1] not in columns.sizes:
            return fit
        row, column = int(np.searchsorted(rows.sizes, size[0])), int(np.searchsorted(columns.sizes, size[1]))
        costs, offsets = grid_layout.best_layouts(grid_layout.layout_costs(fit.maps, rows, columns), rows, columns)
        if costs[row, column] - costs.min() > 0.5 * min(fit.layout.size) * (self.cell + self.border):
            return fit
        return replace(fit, costs=costs, layout=_layout(rows, columns, row, column, offsets))

    def _read(self, picture: Floats, fit: _Fit, rows: Axis, columns: Axis) -> Decoded[Grid]:
        """Colours of the located grid, guards, confidence."""
        lines = grid_layout.trace_lines(fit.maps, fit.layout, self.cell, self.border)
        roles = grid_layout.role_map(lines, self.border, picture.shape[:2])
        observed = self._observe(picture, lines)
        first = grid_colors.read_shifted(observed, self._colors()[0], fit.shift)
        if self._explained(picture, roles, first, fit.shift) < EXPLAINED / 2:
            return _nothing({})
        # A ghost over the canvas drags the calibrated shift along; the first estimate, from the frame's edge, does not.
        shift, reading = min(
            ((shift, grid_colors.read(observed, *self._colors(), shift)) for shift in fit.shifts),
            key=lambda pair: pair[1].cost,
        )
        centre = [
            (length - side * (self.cell + self.border) - self.border) // 2
            for length, side in zip(picture.shape[:2], fit.layout.size, strict=True)
        ]
        details = {
            "size_margin": _size_margin(fit, self.cell + self.border),
            "cell_margin": float(reading.margins.min()),
            "residual": reading.residual,
            "explained": self._explained(picture, roles, reading, shift),
            "contrast": self._contrast(picture, roles, shift),
            "dx": float(fit.layout.offset[1] - centre[1]),
            "dy": float(fit.layout.offset[0] - centre[0]),
        }
        if details["contrast"] < DRAWN or details["explained"] < EXPLAINED:
            return _nothing(details)
        confidence = (
            details["explained"] * np.sqrt((0.1 + details["size_margin"]) * (0.1 + details["cell_margin"])) / 1.1
        )
        return Decoded(reading.grid, confidence=float(np.clip(confidence, 0.01, 1.0)), details=details)

    def _explained(self, picture: Floats, roles: NDArray[np.int64], reading: Reading, shift: Floats) -> float:
        """Share of the variance that the drawn grid explains within one cell around it; negative for nonsense."""
        reach = 2 * (self.cell + self.border) + 1
        near = cv2.dilate((roles > -2).astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
        fixed = shifted([self.canvas_colour, BORDER_COLOR], shift)
        drawn = np.concatenate([reading.colors.reshape(-1, 3), fixed])[roles[near]]
        seen = picture[near]
        error = float(((seen - drawn) ** 2).sum(dtype=np.float64))
        total = float(((seen - seen.mean(axis=0)) ** 2).sum(dtype=np.float64))
        return 1.0 - error / max(total, 1.0)

    def _contrast(self, picture: Floats, roles: NDArray[np.int64], shift: Floats) -> float:
        """Distance of mean border and mean canvas colour; to the expected canvas where the grid fills the frame."""
        border = picture[roles == -1].mean(axis=0)
        outside = picture[roles == -2]
        canvas = outside.mean(axis=0) if len(outside) else shifted([self.canvas_colour], shift)[0]
        return float(np.linalg.norm(border - canvas))

    def spec(self) -> dict[str, Any]:
        """Cell, border, canvas colour, palette name and size mode."""
        return {
            "cell": self.cell,
            "border": self.border,
            "canvas_colour": list(self.canvas_colour),
            "palette": self.palette,
            "size_mode": self.size_mode,
        }


def _nothing(details: dict[str, float]) -> Decoded[Grid]:
    """What a frame without a grid decodes to."""
    return Decoded(np.zeros((1, 1), dtype=np.int64), confidence=0.0, details=details)


def _layout(rows: Axis, columns: Axis, row: int, column: int, offsets: NDArray[np.int64]) -> Layout:
    top, left = offsets[row, column].tolist()
    return Layout((int(rows.sizes[row]), int(columns.sizes[column])), (top, left))


def _size_margin(fit: _Fit, pitch: int) -> float:
    """Cost of the second-best size minus that of the best, as a share of one wrong row or column; at most 1."""
    if fit.costs.size == 1:
        return 1.0
    first, second = np.partition(fit.costs.ravel(), 1)[:2]
    return float(np.clip((second - first) / (pitch * pitch * min(fit.layout.size)), 0.0, 1.0))
