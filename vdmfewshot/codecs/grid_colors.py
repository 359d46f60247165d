"""Which palette value each cell of a located grid shows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.codecs.palette import nearest, shifted, squared_distances

Floats = NDArray[np.float32]

#: typical error of a cell's colour, and how far gain, neighbour bleed, offset and cast may lie from none (prior
#: standard deviations; RGB units for the last two)
_NOISE, _GAIN, _BLEED, _OFFSET, _CAST = 8.0, 0.2, 0.08, 20.0, 20.0
#: orthonormal luma and two chroma axes: distances are those of RGB
_OPPONENT = np.array([[3**-0.5] * 3, [2**-0.5, 0.0, -(2**-0.5)], [6**-0.5, -2 * 6**-0.5, 6**-0.5]], dtype=np.float32)
#: luma of middle grey on that axis
_GREY = 127.5 * 3**0.5
#: contrasts below full at which the richer model also starts
_CONTRASTS = (0.85, 0.7)
#: opacities of a ghost that are tried, and the share of the next-best residual that it must get below
_OPACITIES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
_GHOST_GAIN = 0.4
#: difference, RGB units, above which a pixel says nothing about a colour cast
_MAX_CAST = 60.0
#: side of the coarse lattice on which a slow cast is estimated
_LATTICE = 32
#: most alternations of fitting and decoding
_ROUNDS = 12
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
        cost: -2 log posterior up to a constant: squared error in units of the typical error, plus how far the colour
            model lies from none in units of its prior. By error alone a few cells fit any colours.
    """

    grid: NDArray[np.int64]
    colors: Floats
    margins: Floats
    residual: float
    cost: float


def observe(frame: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64], lined: bool) -> Floats:
    """Colour of each cell, (h, w, 3), from (h, c) row and (w, c) column indices of cell pixels.

    With lines between cells the median without the outer quarter on each side, into which they bleed, where cells are
    large enough; else the mean of all pixels: what a small cell loses to its neighbours it also gets from them, and
    the fit of bleed takes it off.
    """
    if not lined:
        every: Floats = frame[rows[:, None, :, None], columns[None, :, None, :]].mean(axis=(2, 3), dtype=np.float32)
        return every
    cell = rows.shape[1]
    inner = slice(cell // 4, cell - cell // 4)
    rows, columns = rows[:, inner], columns[:, inner]
    pixels = frame[rows[:, None, :, None], columns[None, :, None, :]]
    medians: Floats = np.median(pixels.reshape(len(rows), len(columns), -1, 3), axis=2).astype(np.float32)
    return medians


def read(observed: Floats, palette: Floats, canvas: Floats, border: Floats, shift: Floats) -> Reading:
    """Values of a grid from its cells' colours.

    An additive shift first: it is what real video models do. Where it leaves a residual, richer models are tried:
    gain, bleed between neighbours, offset and linear colour cast around a prior of none, started at full and at reduced
    contrast; and another grid that shines through. The most probable one wins, a ghost only where it leaves far less.

    Args:
        observed: (h, w, 3) colours of the cells, RGB 0-255.
        palette: (10, 3) colours of the values.
        canvas: (3,) colour around the grid.
        border: (3,) colour of its lines.
        shift: (3,) global additive shift of the frame.
    """
    plain = read_shifted(observed, palette, shift)
    if plain.residual < _GOOD_FIT:
        return plain
    faded = [read_shifted((observed - canvas - shift) / gain + canvas, palette, 0 * shift).grid for gain in _CONTRASTS]
    mixed = [_unmix(observed, palette, canvas, shift, grid) for grid in (plain.grid, *faded)]
    best = min((plain, *mixed), key=lambda reading: reading.cost)
    ghost = _see_through(observed, palette, np.stack([canvas, border]), shift)
    return ghost if ghost.residual < _GHOST_GAIN * best.residual else best


def _see_through(observed: Floats, palette: Floats, others: Floats, shift: Floats) -> Reading:
    """Best reading as a blend of two grids of one layout: the answer and, fainter, whatever it replaces."""
    behind = np.concatenate([palette, others])
    readings = []
    for opacity in _OPACITIES:
        blend = (1.0 - opacity) * palette[:, None] + opacity * behind[None]
        table = shifted(blend.astype(np.float32), shift)
        distances = squared_distances(observed, table.reshape(-1, 3)).reshape(*observed.shape[:2], *table.shape[:2])
        through = distances.argmin(axis=3)
        best = np.sqrt(distances.min(axis=3))
        grid = best.argmin(axis=2).astype(np.int64)
        colors = table[grid, np.take_along_axis(through, grid[..., None], axis=2)[..., 0]]
        first, second = np.moveaxis(np.sort(best, axis=2)[..., :2], 2, 0)
        margins = (second - first) / np.maximum(second + first, 1.0)
        readings.append(Reading(grid, colors, margins, _rms(observed - colors), _cost(observed - colors)))
    return min(readings, key=lambda reading: reading.residual)


def read_shifted(observed: Floats, palette: Floats, shift: Floats) -> Reading:
    """Nearest colours under an additive shift; arguments as in ``read``."""
    colors = shifted(palette, shift)
    grid = nearest(observed, colors)
    error = observed - colors[grid]
    return Reading(grid, colors[grid], _margins(observed, colors), _rms(error), _cost(error))


def slow_cast(picture: Floats, drawn: Floats) -> Floats:
    """(H, W, 3) slowly varying part of picture minus drawn, where they roughly agree, RGB units."""
    error = picture - drawn
    trusted = (np.abs(error).max(axis=2, keepdims=True) < _MAX_CAST).astype(np.float32)
    height, width = picture.shape[:2]
    # A slow field is the same on a coarse lattice, where a wide Gaussian costs nothing.
    coarse = (min(_LATTICE, width), min(_LATTICE, height))
    planes = cv2.resize(np.concatenate([error * trusted, trusted], axis=2), coarse, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(planes, (0, 0), _LATTICE / 8.0)
    field: Floats = cv2.resize(smooth[..., :3] / np.maximum(smooth[..., 3:], 0.05), (width, height))
    return field


def _unmix(observed: Floats, palette: Floats, canvas: Floats, shift: Floats, grid: NDArray[np.int64]) -> Reading:
    """Alternate a fit of the observed colours on the decoded ones with decoding what the fit leaves."""
    readings: list[Reading] = []
    seen: set[bytes] = set()
    while grid.tobytes() not in seen and len(seen) < _ROUNDS:
        seen.add(grid.tobytes())
        predicted, gains, penalty = _fit(observed, palette[grid], canvas, shift)
        error: Floats = ((observed - predicted) @ _OPPONENT.T).astype(np.float32)
        # What a component of colour leaves unexplained says how far to trust it: chroma bleeds more than luma.
        spread = np.sqrt((error**2).mean(axis=(0, 1)) / gains**2 + _NOISE**2)
        trust = (spread.min() / spread).astype(np.float32)
        table = palette @ _OPPONENT.T * trust
        cleaned = table[grid] + error / gains * trust
        cost = _cost(error) + penalty
        readings.append(Reading(grid, predicted, _margins(cleaned, table), _rms(error), cost))
        grid = nearest(cleaned, table)
    return min(readings, key=lambda reading: reading.cost)


def _fit(observed: Floats, colors: Floats, canvas: Floats, shift: Floats) -> tuple[Floats, Floats, float]:
    """Maximum a posteriori fit of gain, bleed, offset and linear cast, for luma and for both chroma axes.

    Returns:
        predicted (h, w, 3) RGB colours, the (3,) gain of a cell's own colour per luma-chroma component, and the squared
        length of the solution in units of its prior.
    """
    base = shifted(colors, shift)
    target = (observed - base) @ _OPPONENT.T
    fields = [_neighbours(colors @ _OPPONENT.T, canvas @ _OPPONENT.T, k) for k in range(3)]
    change = np.zeros_like(target)
    gains = np.ones(3, dtype=np.float32)
    penalty = 0.0
    for components in ((0,), (1, 2)):
        shared = np.concatenate([fields[k] for k in components])
        own = np.kron(np.eye(len(components)), _cast(observed.shape[:2]))
        design = np.concatenate([shared, own], axis=1) * np.array(
            [_GAIN, _BLEED, _BLEED] + [_OFFSET, _CAST, _CAST] * len(components)
        )
        wanted = np.concatenate([target[..., k].ravel() for k in components])
        normal = design.T @ design + _NOISE**2 * np.eye(design.shape[1])
        solution = np.linalg.solve(normal, design.T @ wanted)
        penalty += float(solution @ solution)
        for k, part in zip(components, np.split(design @ solution, len(components)), strict=True):
            change[..., k] = part.reshape(change.shape[:2])
            gains[k] = 1.0 + solution[0] * _GAIN - 4.0 * (solution[1] + solution[2]) * _BLEED
    predicted: Floats = np.clip(base + change @ _OPPONENT, 0.0, 255.0).astype(np.float32)
    return predicted, np.clip(gains, 0.3, 1.5), penalty


def _neighbours(colors: Floats, canvas: Floats, component: int) -> NDArray[np.float64]:
    """(h w, 3) regressors of one component: own value, what four and what four diagonal neighbours add to it."""
    own = colors[..., component].astype(np.float64)
    padded = np.pad(own, 1, constant_values=float(canvas[component]))
    beside = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * own
    diagonal = padded[:-2, :-2] + padded[2:, 2:] + padded[2:, :-2] + padded[:-2, 2:] - 4 * own
    centre = _GREY if component == 0 else 0.0
    return np.stack([own - centre, beside, diagonal], axis=-1).reshape(-1, 3)


def _cast(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(h w, 3) regressors of a constant and a linear colour cast."""
    vertical, horizontal = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    return np.stack([np.ones(shape[:2]), vertical, horizontal], axis=-1).reshape(-1, 3)


def _margins(observed: Floats, colors: Floats) -> Floats:
    """(second distance - best distance) / distance of the two colours; 1 on the colour, 0 half-way, (h, w)."""
    distances = np.sqrt(squared_distances(observed, colors))
    order = distances.argsort(axis=-1)[..., :2]
    pair = np.take_along_axis(distances, order, axis=-1)
    apart = np.linalg.norm(colors[order[..., 0]] - colors[order[..., 1]], axis=-1)
    margins: Floats = np.clip((pair[..., 1] - pair[..., 0]) / np.maximum(apart, 1.0), 0.0, 1.0)
    return margins


def _cost(error: Floats) -> float:
    return float(np.sum(error.astype(np.float64) ** 2) / _NOISE**2)


def _rms(error: Floats) -> float:
    return float(np.sqrt(np.mean(error.astype(np.float64) ** 2)))
