"""Finding a drawn grid on a frame and reading its cells: everything between pixels and values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.codecs import grid_colors, grid_layout
from vdmfewshot.codecs.grid_colors import Reading
from vdmfewshot.codecs.grid_layout import TRUNCATE, Axis, Costs, Layout, Style
from vdmfewshot.codecs.palette import MAX_SHIFT, distance_planes, mean_shift, shifted

Floats = NDArray[np.float32]
Lines = tuple[NDArray[np.int64], NDArray[np.int64]]

#: share of the variance around a grid below which a frame is not looked at more closely
HOPELESS = 0.22
#: share of fully wrong pixels below which no colour cast is looked for
CLEAN = 0.005
#: rows of a frame whose distances to all colours are worked out at once
ROWS = 32


@dataclass(frozen=True)
class Located:
    """A located grid: the frame it was found in, cost per size, place, shift (and the first estimate of it)."""

    picture: Floats
    costs: Floats
    layout: Layout
    shift: Floats
    maps: Costs
    start: Floats

    def plain(self, picture: Floats) -> bool:
        """Whether calibration left the frame and its first shift as they were."""
        return self.picture is picture and float(np.abs(self.shift - self.start).max()) < 4.0

    @property
    def cost(self) -> float:
        """Cost of the best size, in fully wrong pixels."""
        return float(self.costs.min())


@dataclass(frozen=True)
class GridReader:
    """Render-and-compare with one drawing style.

    Attributes:
        style: widths of cells and lines.
        cells: (K, 3) RGB of the values.
        canvas: (3,) RGB around the grid.
        line: (3,) RGB of the lines.
    """

    style: Style
    cells: Floats
    canvas: Floats
    line: Floats

    def locate(self, picture: Floats, rows: Axis, columns: Axis) -> Located:
        """Best size, offset and shift: each candidate shift is located, then the best re-estimated.

        Last, what the best leaves unexplained over wide areas is taken off as a slowly varying cast, if that helps.
        """
        fits = [self._fit(picture, shift, rows, columns) for shift in self._candidate_shifts(picture)]
        best = min(fits, key=lambda fit: fit.cost)
        start = best.shift
        for _ in range(4):
            shift = mean_shift(picture.reshape(-1, 3), self._draw(best).reshape(-1, 3), best.shift)
            if np.abs(shift - best.shift).max() < 1.0:
                break
            again = self._fit(picture, shift, rows, columns)
            if again.cost >= best.cost:
                break
            best = again
        if best.cost < CLEAN * picture.shape[0] * picture.shape[1]:
            return replace(best, start=start)
        flat = picture - grid_colors.slow_cast(picture, shifted(self._draw(best), best.shift))
        even = self._fit(flat, best.shift, rows, columns)
        return replace(min(best, even, key=lambda fit: fit.cost), start=start)

    def _candidate_shifts(self, picture: Floats) -> list[Floats]:
        """No shift, and those under which a side of the frame shows canvas or, for a grid that fills it, border."""
        sides = (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:])
        candidates: list[Floats] = [np.zeros(3, dtype=np.float32)]
        for color in (self.canvas, self.line):
            for side in sides:
                shift = np.median(side.reshape(-1, 3), axis=0) - color
                new = all(np.abs(shift - other).max() > 12.0 for other in candidates)
                if np.abs(shift).max() <= MAX_SHIFT and new:
                    candidates.append(shift.astype(np.float32))
        return candidates

    def _fit(self, picture: Floats, shift: Floats, rows: Axis, columns: Axis) -> Located:
        maps = self._maps(picture, shift)
        costs, offsets = grid_layout.best_layouts(grid_layout.layout_costs(maps, rows, columns), rows, columns)
        row, column = np.unravel_index(int(costs.argmin()), costs.shape)
        layout = _layout(rows, columns, int(row), int(column), offsets)
        return Located(picture, costs, layout, shift, maps, start=shift)

    def _maps(self, picture: Floats, shift: Floats) -> Costs:
        """Truncated squared distance of every pixel to canvas, border and its nearest cell colour."""
        table = shifted(np.concatenate([self.canvas[None], self.line[None], self.cells]), shift)
        costs = np.empty((3, *picture.shape[:2]), dtype=np.float32)
        for start in range(0, len(picture), ROWS):  # what fits the processor's cache
            planes = distance_planes(picture[start : start + ROWS], table)
            part = costs[:, start : start + ROWS]
            part[:2] = planes[:2]
            np.min(planes[2:], axis=0, out=part[2])
        costs *= np.float32(1 / TRUNCATE**2)
        np.clip(costs, 0.0, 1.0, out=costs)
        return Costs(canvas=costs[0], border=costs[1], cell=costs[2])

    def _draw(self, fit: Located) -> Floats:
        """Unshifted rendering of the grid that is read where ``fit`` found it: cells, borders and canvas."""
        lines = grid_layout.trace_lines(fit.maps, fit.layout, self.style)
        roles = grid_layout.role_map(lines, self.style, fit.picture.shape[:2])
        reading = grid_colors.read_shifted(self._observe(fit.picture, lines), self.cells, fit.shift)
        drawn: Floats = np.concatenate([self.cells[reading.grid.ravel()], self.canvas[None], self.line[None]])[roles]
        return drawn

    def _observe(self, picture: Floats, lines: Lines) -> Floats:
        pixels = [
            grid_layout.cell_pixels(positions, self.style, length)
            for positions, length in zip(lines, picture.shape[:2], strict=True)
        ]
        return grid_colors.observe(picture, pixels[0], pixels[1], lined=self.style.gap > 0)

    def prefer(self, fit: Located, size: tuple[int, int], rows: Axis, columns: Axis) -> Located:
        """The layout of the rule's size, if it costs at most half a grid line more than the best."""
        if size[0] not in rows.sizes or size[1] not in columns.sizes:
            return fit
        row, column = int(np.searchsorted(rows.sizes, size[0])), int(np.searchsorted(columns.sizes, size[1]))
        costs, offsets = grid_layout.best_layouts(grid_layout.layout_costs(fit.maps, rows, columns), rows, columns)
        if costs[row, column] - costs.min() > 0.5 * min(fit.layout.size) * self.style.pitch:
            return fit
        return replace(fit, costs=costs, layout=_layout(rows, columns, row, column, offsets))

    def read(self, picture: Floats, fit: Located) -> tuple[Reading | None, dict[str, float]]:
        """Values of the located grid, ``None`` where it explains next to nothing, and what the guards need.

        Returns:
            reading, and ``explained``, ``contrast``, ``surround``, ``residual``, ``cell_margin``, ``size_margin``,
            ``dx``, ``dy``.
        """
        lines = grid_layout.trace_lines(fit.maps, fit.layout, self.style)
        roles = grid_layout.role_map(lines, self.style, picture.shape[:2])
        first = grid_colors.read_shifted(self._observe(fit.picture, lines), self.cells, fit.shift)
        if self._explained(fit.picture, roles, first, fit.shift) < HOPELESS:
            return None, {}
        # A ghost drags the calibrated shift along and is no cast: the frame as it came competes.
        views = [(fit.picture, fit.shift)] + ([] if fit.plain(picture) else [(picture, fit.start)])
        colors = (self.cells, self.canvas, self.line)
        readings = [grid_colors.read(self._observe(view, lines), *colors, shift) for view, shift in views]
        best = min(range(len(views)), key=lambda k: readings[k].cost)
        (picture, shift), reading = views[best], readings[best]
        details = {
            "explained": self._explained(picture, roles, reading, shift),
            "contrast": self._contrast(picture, roles, shift),
            "surround": _surround(fit.maps, roles),
            "residual": reading.residual,
            "cell_margin": float(reading.margins.min()),
            "size_margin": _size_margin(fit, self.style.pitch),
        }
        return reading, details | self._displacement(fit.layout, picture.shape)

    def _displacement(self, layout: Layout, shape: tuple[int, ...]) -> dict[str, float]:
        """Pixels by which the grid lies right of (``dx``) and below (``dy``) the centre."""
        spans = (self.style.span(side) for side in layout.size)
        top, left = ((length - span) // 2 for length, span in zip(shape[:2], spans, strict=True))
        return {"dx": float(layout.offset[1] - left), "dy": float(layout.offset[0] - top)}

    def _explained(self, picture: Floats, roles: NDArray[np.int64], reading: Reading, shift: Floats) -> float:
        """Share of the variance that the drawn grid explains within one cell around it; negative for nonsense."""
        reach = self.style.cell + self.style.border
        near = tuple(_around(np.asarray((roles > -2).any(axis=axis)), reach) for axis in (1, 0))
        fixed = shifted(np.stack([self.canvas, self.line]), shift)
        drawn = np.concatenate([reading.colors.reshape(-1, 3), fixed])[roles[near]]
        seen = picture[near]
        error, spread = (seen - drawn).ravel(), (seen - seen.mean(axis=(0, 1))).ravel()
        return 1.0 - float(error @ error) / max(float(spread @ spread), 1.0)

    def _contrast(self, picture: Floats, roles: NDArray[np.int64], shift: Floats) -> float:
        """Distance of mean border and mean canvas colour; to the expected canvas where the grid fills the frame.

        0 where no border is on the frame.
        """
        if not (roles == -1).any():
            return 0.0
        border = picture[roles == -1].mean(axis=0)
        outside = picture[roles == -2]
        canvas = outside.mean(axis=0) if len(outside) else shifted(self.canvas[None], shift)[0]
        return float(np.linalg.norm(border - canvas))


def _around(inside: NDArray[np.bool_], reach: int) -> slice:
    """The places that are inside, and so many on both sides."""
    places = np.flatnonzero(inside)
    return slice(max(int(places[0]) - reach, 0), int(places[-1]) + reach + 1) if len(places) else slice(0, 0)


def _surround(maps: Costs, roles: NDArray[np.int64]) -> float:
    """How little canvas and lines look like themselves: 0 as drawn, 1 nowhere near."""
    costs = np.where(roles == -2, maps.canvas, maps.border)[roles < 0]
    return float(costs.mean()) if costs.size else 1.0


def _layout(rows: Axis, columns: Axis, row: int, column: int, offsets: NDArray[np.int64]) -> Layout:
    top, left = offsets[row, column].tolist()
    return Layout((int(rows.sizes[row]), int(columns.sizes[column])), (top, left))


def _size_margin(fit: Located, pitch: int) -> float:
    """Cost of the second-best size minus that of the best, as a share of one wrong row or column; at most 1."""
    if fit.costs.size == 1:
        return 1.0
    first, second = np.partition(fit.costs.ravel(), 1)[:2]
    return float(np.clip((second - first) / (pitch * pitch * min(fit.layout.size)), 0.0, 1.0))
