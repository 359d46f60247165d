"""Which palette value each cell of a located grid shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.codecs.palette import nearest, shifted, squared_distances

Floats = NDArray[np.float32]

#: typical error of a cell's colour, and how far gain, neighbour bleed, offset and cast may lie from none (prior
#: standard deviations; RGB units for the last two)
_NOISE, _GAIN, _BLEED, _OFFSET, _CAST = 8.0, 0.2, 0.08, 20.0, 20.0
#: residual below which an additive shift explains a grid fully, RGB units
_GOOD_FIT = 4.0


@dataclass(frozen=True)
class Reading:
    """Values read from (h, w, 3) cell colours.

    Attributes:
        grid: (h, w) int64 palette indices.
        colors: (h, w, 3) cell colours as the fitted model predicts them, RGB units.
        margins: (h, w) how clearly the best colour beats the second, 0 to 1.
        residual: root mean square of observed minus predicted colours, RGB units.
    """

    grid: NDArray[np.int64]
    colors: Floats
    margins: Floats
    residual: float


def observe(frame: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """Median colour of the centre of each cell, (h, w, 3), from (h, c) row and (w, c) column indices of cell pixels.

    The outer quarter on each side is left out where cells are large enough: borders bleed into it.
    """
    cell = rows.shape[1]
    inner = slice(cell // 4, cell - cell // 4)
    rows, columns = rows[:, inner], columns[:, inner]
    pixels = frame[rows[:, None, :, None], columns[None, :, None, :]]
    medians: Floats = np.median(pixels.reshape(len(rows), len(columns), -1, 3), axis=2).astype(np.float32)
    return medians


def read(observed: Floats, palette: Floats, canvas: Floats, shift: Floats) -> Reading:
    """Values of a grid from its cells' colours.

    An additive shift first: it is what real video models do. Where it leaves a residual, a richer model (gain, bleed
    between neighbours, offset and linear colour cast) is fitted around a prior of none, and kept if it explains more.
    """
    plain = _reading(observed, palette, shift)
    if plain.residual < _GOOD_FIT:
        return plain
    mixed = _unmix(observed, palette, canvas, shift, plain)
    return mixed if mixed.residual < plain.residual else plain


def _reading(observed: Floats, palette: Floats, shift: Floats) -> Reading:
    colors = shifted(palette, shift)
    grid = nearest(observed, colors)
    return Reading(grid, colors[grid], _margins(observed, colors), _rms(observed - colors[grid]))


def _unmix(observed: Floats, palette: Floats, canvas: Floats, shift: Floats, start: Reading) -> Reading:
    """Alternate a ridge regression of the observed colours on the decoded ones with decoding what it leaves."""
    grid = start.grid
    seen = {grid.tobytes()}
    best = start
    for _ in range(8):
        predicted, gain = _fit(observed, palette[grid], canvas, shift)
        cleaned = palette[grid] + (observed - predicted) / gain
        residual = _rms(observed - predicted)
        grid = nearest(cleaned, palette)
        if residual < best.residual:
            best = Reading(grid, predicted, _margins(cleaned, palette), residual)
        if grid.tobytes() in seen:
            break
        seen.add(grid.tobytes())
    return best


def _fit(observed: Floats, colors: Floats, canvas: Floats, shift: Floats) -> tuple[Floats, float]:
    """Maximum a posteriori fit: predicted (h, w, 3) colours and the gain of a cell's own colour."""
    height, width, _ = colors.shape
    padded = np.broadcast_to(canvas, (height + 2, width + 2, 3)).astype(np.float64)
    padded[1:-1, 1:-1] = colors
    beside = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * colors
    diagonal = padded[:-2, :-2] + padded[2:, 2:] + padded[2:, :-2] + padded[:-2, 2:] - 4 * colors
    vertical, horizontal = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    columns = [colors - 128.0, beside, diagonal]
    for field in (np.ones((height, width)), vertical, horizontal):
        columns += [field[..., None] * np.eye(3)[c] for c in range(3)]
    design = np.stack(columns, axis=-1)
    scales = np.array([_GAIN, _BLEED, _BLEED] + [_OFFSET] * 3 + [_CAST] * 6)
    base = shifted(colors, shift)
    free = ((base > 0) & (base < 255)).astype(np.float64).ravel()[:, None]
    matrix = design.reshape(-1, design.shape[-1]) * scales
    weights = matrix * free
    normal = weights.T @ matrix + _NOISE**2 * np.eye(len(scales))
    solution = np.linalg.solve(normal, weights.T @ (observed - base).ravel().astype(np.float64))
    change = (matrix @ solution).reshape(colors.shape)
    gain = 1.0 + float(solution[0] * _GAIN - 4 * (solution[1] + solution[2]) * _BLEED)
    return np.clip(base + change, 0.0, 255.0).astype(np.float32), float(np.clip(gain, 0.3, 1.5))


def _margins(observed: Floats, colors: Floats) -> Floats:
    """(second distance - best distance) / distance of the two colours; 1 on the colour, 0 half-way, (h, w)."""
    distances = np.sqrt(squared_distances(observed, colors))
    order = distances.argsort(axis=-1)[..., :2]
    pair = np.take_along_axis(distances, order, axis=-1)
    apart = np.linalg.norm(colors[order[..., 0]] - colors[order[..., 1]], axis=-1)
    margins: Floats = np.clip((pair[..., 1] - pair[..., 0]) / np.maximum(apart, 1.0), 0.0, 1.0)
    return margins


def _rms(error: Floats) -> float:
    return float(np.sqrt(np.mean(error.astype(np.float64) ** 2)))
