"""Where on a frame a cell grid lies: render-and-compare over every size and every one-pixel offset at once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Count = TypeVar("Count", int, NDArray[np.int64])

#: largest displacement that is looked for, in pixels
MAX_OFFSET = 8
#: RGB distance at which the penalty of a pixel saturates: a blob or a ghost must not outvote the rest of the frame
TRUNCATE = 100.0
#: cost, in fully wrong pixels, of one pixel of displacement and of one pixel outside the frame: they only break ties
_TIE_MOVED, _TIE_HIDDEN = 0.01, 0.05
#: cost of a cell row or column that is one pixel larger or smaller than nominal, in fully wrong rows
_STRETCH = 0.15
#: how far, in pixels, a line may drift from its nominal place
_DRIFT = 3


@dataclass(frozen=True)
class Style:
    """How wide everything is drawn, in pixels.

    Attributes:
        cell: side of a cell.
        border: width of the lines around the grid.
        gap: width of the lines between cells; 0 draws none.
    """

    cell: int
    border: int
    gap: int

    @property
    def pitch(self) -> int:
        """From one cell to the next."""
        return self.cell + self.gap

    def span(self, count: Count) -> Count:
        """Pixels that ``count`` cells (a number or an array) take with all lines."""
        return count * self.pitch - self.gap + 2 * self.border

    def inside(self, relative: NDArray[np.int64], span: int | NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether pixels, counted from the first line, lie in a cell of a grid of ``span`` pixels."""
        within: NDArray[np.bool_] = (relative >= self.border) & (relative < span - self.border)
        return within & ((relative - self.border) % self.pitch < self.cell)

    def starts(self, count: int) -> NDArray[np.int64]:
        """(N + 1) first pixel of each line, counted from the first; between cells without lines, of the next cell."""
        inner = self.border - self.gap + self.pitch * np.arange(1, count + 1, dtype=np.int64)
        return np.concatenate([np.zeros(1, np.int64), inner])

    def widths(self, count: int) -> NDArray[np.int64]:
        """(N + 1) width of each line."""
        widths = np.full(count + 1, self.gap, dtype=np.int64)
        widths[[0, -1]] = self.border
        return widths


@dataclass(frozen=True)
class Layout:
    """A grid's place on a frame.

    Attributes:
        size: (rows, columns) of the grid.
        offset: (top, left) pixel of the first border line; negative when it lies outside the frame.
    """

    size: tuple[int, int]
    offset: tuple[int, int]


@dataclass(frozen=True)
class Costs:
    """Squared RGB distance per pixel, truncated and scaled to [0, 1], to what a pixel could be; each (H, W)."""

    canvas: Floats
    border: Floats
    cell: Floats


@dataclass(frozen=True)
class Axis:
    """All hypotheses along one axis of ``length`` pixels: K = sizes x offsets.

    Attributes:
        sizes: (N,) numbers of cells tried.
        starts: (N, D) pixel of the first border line for every size and displacement.
        extent: (2, K) first pixel inside the grid, borders included, and the first after it.
        inside: (K, length) 1 inside cells.
        ties: (K,) tie-breaking cost.
    """

    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]
    extent: NDArray[np.int64]
    inside: Floats
    ties: Floats


@functools.lru_cache(maxsize=256)
def axis_hypotheses(length: int, style: Style, sizes: tuple[int, ...]) -> Axis:
    """Tabulate where each size at each displacement of at most ``MAX_OFFSET`` pixels puts its lines."""
    counts = np.array(sizes, dtype=np.int64)
    spans = style.span(counts)
    moves = np.arange(-MAX_OFFSET, MAX_OFFSET + 1)
    starts = (length - spans)[:, None] // 2 + moves[None]
    relative = np.arange(length)[None, None] - starts[..., None]
    extent = np.clip([starts, starts + spans[:, None]], 0, length)
    inside = style.inside(relative, spans[:, None, None])
    hidden = spans[:, None] - (extent[1] - extent[0])
    ties = _TIE_MOVED * np.abs(moves)[None] + _TIE_HIDDEN * hidden
    return Axis(
        counts,
        starts,
        extent.reshape(2, -1),
        inside.reshape(-1, length).astype(np.float32),
        ties.ravel().astype(np.float32),
    )


def layout_costs(costs: Costs, rows: Axis, columns: Axis) -> Floats:
    """Cost of every hypothesis at once, (N_y, D, N_x, D), in fully wrong pixels.

    The cost of a layout is a sum over three pixel sets, each the product of a set of rows and a set of columns, so all
    hypotheses together are a bilinear form and, where the sets are intervals, sums over rectangles: matrix products
    and a table of sums instead of 260,000 renderings.
    """
    total = costs.canvas.sum(dtype=np.float64)
    sums = cv2.integral(costs.border - costs.canvas, sdepth=cv2.CV_64F)
    down = sums[rows.extent[1]] - sums[rows.extent[0]]
    table: Floats = (down[:, columns.extent[1]] - down[:, columns.extent[0]] + total).astype(np.float32)
    table += rows.inside @ (costs.cell - costs.border) @ columns.inside.T
    table += rows.ties[:, None]
    table += columns.ties
    return table.reshape(*rows.starts.shape, *columns.starts.shape)


def best_layouts(table: Floats, rows: Axis, columns: Axis) -> tuple[Floats, NDArray[np.int64]]:
    """Best offset per size: costs (N_y, N_x) and (N_y, N_x, 2) offsets (top, left)."""
    sizes = (len(rows.sizes), len(columns.sizes))
    by_size = table.transpose(0, 2, 1, 3).reshape(*sizes, -1)
    choice = by_size.argmin(axis=2)
    down, right = np.divmod(choice, columns.starts.shape[1])
    tops = rows.starts[np.arange(sizes[0])[:, None], down]
    lefts = columns.starts[np.arange(sizes[1])[None], right]
    return by_size.min(axis=2), np.stack([tops, lefts], axis=-1)


def trace_lines(costs: Costs, layout: Layout, style: Style) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First pixel of each of the (rows + 1) horizontal and (columns + 1) vertical lines, see ``Style.starts``.

    Generated grids drift: a cell is a pixel too large here, too small there. Dynamic programming moves each line by up
    to ``_DRIFT`` pixels from the layout's, where that explains the rows (columns) better.
    """
    height, width = costs.canvas.shape
    traced = []
    for axis, length in ((0, height), (1, width)):
        other = 1 - axis
        span = style.span(layout.size[other])
        relative = np.arange((height, width)[other]) - layout.offset[other]
        across = (relative >= 0) & (relative < span)
        cells = style.inside(relative, span)
        profiles = [
            np.moveaxis(cost, axis, 0)[:, mask].mean(axis=1) if mask.any() else np.zeros(length, dtype=np.float32)
            for cost, mask in ((costs.canvas, across), (costs.border, cells), (costs.cell, cells))
        ]
        traced.append(_trace(profiles, layout.size[axis], layout.offset[axis], style))
    return traced[0], traced[1]


def _trace(profiles: list[Floats], count: int, start: int, style: Style) -> NDArray[np.int64]:
    """Viterbi over the drift of each line; ``profiles`` are the costs per row of canvas, border and cell."""
    length = len(profiles[0])
    canvas, line, inner = (np.concatenate([[0.0], np.cumsum(p, dtype=np.float64)]) for p in profiles)
    drifts = np.arange(-_DRIFT, _DRIFT + 1)

    def at(sums: NDArray[np.float64], pixel: NDArray[np.int64]) -> NDArray[np.float64]:
        return sums[np.clip(pixel, 0, length)]

    widths = style.widths(count)[:, None]
    places = start + style.starts(count)[:, None] + drifts[None]
    own = at(line, places + widths) - at(line, places)
    best = at(canvas, places[0]) + own[0]
    back = np.zeros((count + 1, len(drifts)), dtype=np.int64)
    step = np.abs(drifts[:, None] - drifts[None])
    for i in range(1, count + 1):
        between = at(inner, places[i])[None] - at(inner, places[i - 1] + widths[i - 1])[:, None]
        reach = best[:, None] + between + np.where(step <= 1, _STRETCH * step, np.inf)
        back[i] = reach.argmin(axis=0)
        best = reach.min(axis=0) + own[i]
    best = best + canvas[-1] - at(canvas, places[-1] + widths[-1])
    state = int(best.argmin())
    chosen = np.empty(count + 1, dtype=np.int64)
    for i in range(count, -1, -1):
        chosen[i] = places[i, state]
        state = int(back[i, state])
    return chosen if style.gap else _evenly(chosen, style)


def _evenly(lines: NDArray[np.int64], style: Style) -> NDArray[np.int64]:
    """First and last line stay; cells without lines between them, which nothing tells apart, share what is between."""
    starts = style.starts(len(lines) - 1)
    stretch = (lines[-1] - lines[0]) / starts[-1]
    even: NDArray[np.int64] = lines[0] + np.rint(starts * stretch).astype(np.int64)
    return even


def cell_pixels(lines: NDArray[np.int64], style: Style, length: int) -> NDArray[np.int64]:
    """(N + 1) line positions → (N, cell) pixel indices of every cell's inside, stretched to ``cell`` samples."""
    cell = style.cell
    starts = lines[:-1] + style.widths(len(lines) - 1)[:-1]
    widths = lines[1:] - starts
    samples = starts[:, None] + ((np.arange(cell)[None] + 0.5) * widths[:, None] / cell).astype(np.int64)
    pixels: NDArray[np.int64] = np.clip(samples, 0, length - 1)
    return pixels


def role_map(
    lines: tuple[NDArray[np.int64], NDArray[np.int64]], style: Style, shape: tuple[int, int]
) -> NDArray[np.int64]:
    """(H, W) map of a traced grid: -2 canvas, -1 border, otherwise the cell's index row * columns + column."""
    roles = []
    for positions, length in zip(lines, shape, strict=True):
        pixels = np.arange(length)
        index = np.searchsorted(positions, pixels, side="right") - 1
        inside = (index >= 0) & (pixels < positions[-1] + style.border)
        last = np.maximum(index, 0)
        on_line = pixels - positions[last] < style.widths(len(positions) - 1)[last]
        roles.append(np.where(~inside, -2, np.where(on_line, -1, index)))
    rows, columns = roles[0][:, None], roles[1][None]
    cells = rows * (len(lines[1]) - 1) + columns
    outside = (rows == -2) | (columns == -2)
    return np.where(outside, -2, np.where((rows == -1) | (columns == -1), -1, cells))
