"""Colours that survive a video VAE: the ARC palette, max-min palettes, nearest colour and additive shift."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
Floats = NDArray[np.float32]

#: colours of the values 0-9, as both papers render them (arXiv 2510.24448; smallest distance 73, red to orange)
ARC_PALETTE: tuple[Color, ...] = (
    (0, 0, 0), (0, 116, 217), (255, 65, 54), (46, 204, 64), (255, 220, 0),
    (170, 170, 170), (240, 18, 190), (255, 133, 27), (127, 219, 255), (135, 12, 37),
)  # fmt: skip

#: six colours more, for boards of up to 16 values (chess); and wall, path, end, start and way of mazes: the papers'
ARC_16_PALETTE: tuple[Color, ...] = (
    *ARC_PALETTE,
    (163, 73, 164), (255, 182, 193), (0, 255, 255), (128, 0, 128), (192, 192, 192), (255, 255, 255),
)  # fmt: skip
MAZE_PALETTE: tuple[Color, ...] = ((71, 48, 45), (255, 255, 255), (244, 96, 54), (72, 191, 132), (46, 134, 171))

#: largest global colour shift per channel that is looked for; real video models reach about 60
MAX_SHIFT = 70.0

#: pixels whose median tells a shift to a fraction of a level: more are thinned out evenly
_ENOUGH = 16384
#: RGB levels per channel among which a max-min palette chooses
_LEVELS = np.rint(np.linspace(0, 255, 9)).astype(np.int64)
#: corners of the RGB cube from which the search starts
_STARTS: tuple[Color, ...] = (
    (255, 255, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255),
)  # fmt: skip


@functools.lru_cache(maxsize=64)
def max_min_palette(n: int, anchors: tuple[Color, ...] = ((0, 0, 0),)) -> tuple[Color, ...]:
    """``n`` RGB colours whose smallest distance, to each other and to the anchors, is as large as a search finds.

    Farthest-point sampling on a lattice of 9 levels per channel, then exchange of single colours until none can get
    farther from the rest; the best of seven starts. With black as anchor the smallest distance is 361 for 3 colours,
    255 for 7 and 136 for 17.

    Args:
        n: number of colours returned, anchors not included.
        anchors: colours that the new ones must keep away from: the background, the canvas.

    Raises:
        ValueError: if ``n`` is not 1 to 128.
    """
    if not 1 <= n <= 128:
        raise ValueError(f"a max-min palette has 1 to 128 colours, got n={n}")
    lattice = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    fixed = np.array(anchors, dtype=np.int64).reshape(-1, 3)
    candidates = [_spread(n, fixed, start, lattice) for start in _STARTS]
    best = max(candidates, key=lambda colors: _smallest_gap(np.concatenate([fixed, colors])))
    return tuple((int(red), int(green), int(blue)) for red, green, blue in best)


def _spread(n: int, fixed: NDArray[np.int64], start: Color, lattice: NDArray[np.int64]) -> NDArray[np.int64]:
    """Farthest-point sampling from ``start``, then up to 12 rounds of exchanging one colour at a time."""
    colors = np.array([start], dtype=np.int64)
    while len(colors) < n:
        gaps = _gaps(lattice, np.concatenate([fixed, colors]))
        colors = np.concatenate([colors, lattice[gaps.argmax()][None]])
    for _ in range(12):
        before = colors.copy()
        for i in range(n):
            others = np.concatenate([fixed, np.delete(colors, i, axis=0)])
            gaps = _gaps(lattice, others)
            if gaps.max() > _gaps(colors[i][None], others)[0]:
                colors[i] = lattice[gaps.argmax()]
        if (before == colors).all():
            break
    return colors


def _gaps(points: NDArray[np.int64], colors: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, 3) points → (N,) squared distance to the nearest of (K, 3) colours; K = 0 gives a constant."""
    if len(colors) == 0:
        return np.full(len(points), np.iinfo(np.int64).max)
    gaps: NDArray[np.int64] = ((points[:, None] - colors[None]) ** 2).sum(axis=-1).min(axis=1)
    return gaps


def _smallest_gap(colors: NDArray[np.int64]) -> int:
    """Smallest squared distance within (K, 3) colours."""
    gaps = ((colors[:, None] - colors[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(gaps, np.iinfo(np.int64).max)
    return int(gaps.min())


def squared_distances(pixels: Floats, colors: Floats) -> Floats:
    """(..., 3) pixels and (K, 3) colours → (..., K) squared RGB distances."""
    # One matrix product instead of a (..., K, 3) array of differences, centred on grey to keep float32 exact enough.
    flat, table = pixels.reshape(-1, 3) - np.float32(128.0), colors - np.float32(128.0)
    squares = (flat**2).sum(axis=1)[:, None] - 2.0 * flat @ table.T + (table**2).sum(axis=1)
    distances: Floats = np.maximum(squares, 0.0).astype(np.float32).reshape(*pixels.shape[:-1], len(colors))
    return distances


def distance_planes(picture: Floats, colors: Floats) -> Floats:
    """(H, W, 3) picture and (K, 3) colours → (K, H, W) squared RGB distances, up to rounding: 0 may be just below it.

    As ``squared_distances``, with a plane for each colour: a minimum over colours is then one over whole pictures.
    """
    pixels, table = picture.reshape(-1, 3) - np.float32(128.0), colors - np.float32(128.0)
    # |p|² - 2 p·t + |t|² as one product
    known = np.empty((len(pixels), 5), dtype=np.float32)
    known[:, :3], known[:, 3], known[:, 4] = pixels, np.einsum("nc,nc->n", pixels, pixels), 1.0
    wanted = np.column_stack([-2.0 * table, np.ones(len(table)), (table**2).sum(axis=1)]).astype(np.float32)
    return (wanted @ known.T).reshape(len(colors), *picture.shape[:2])


def nearest(pixels: Floats, palette: Sequence[Color] | Floats) -> NDArray[np.int64]:
    """(..., 3) RGB pixels → (...) indices of the nearest of (K, 3) colours in Euclidean distance."""
    index: NDArray[np.int64] = squared_distances(pixels, np.asarray(palette, dtype=np.float32)).argmin(axis=-1)
    return index


def shifted(colors: Sequence[Color] | Floats, shift: Floats) -> Floats:
    """(K, 3) colours as they look after a global additive ``shift``: frames saturate at 0 and 255."""
    moved: Floats = np.clip(np.asarray(colors, dtype=np.float32) + shift, 0.0, 255.0)
    return moved


def mean_shift(pixels: Floats, colors: Floats, guess: Floats) -> Floats:
    """Additive shift of (N, 3) ``pixels`` against the (N, 3) ``colors`` that they should have.

    The median of the differences per channel, over values that do not saturate under ``guess``: a black pixel says
    nothing about a darker frame.

    Returns:
        (3,) shift within ±``MAX_SHIFT``; the guess itself in channels where every value saturates.
    """
    stride = 1 + len(pixels) // _ENOUGH
    pixels, colors = pixels[::stride], colors[::stride]
    moved = colors + guess
    free = (moved > 0.0) & (moved < 255.0)
    medians = [
        np.median((pixels - colors)[free[:, c], c]) if free[:, c].any() else guess[c] for c in range(pixels.shape[1])
    ]
    return np.clip(np.array(medians, dtype=np.float32), -MAX_SHIFT, MAX_SHIFT)


def estimate_shift(pixels: Floats, palette: Sequence[Color] | Floats, rounds: int = 4) -> Floats:
    """Global additive colour shift of (N, 3) pixels that show colours of a palette, whichever they are.

    Alternates nearest colour and the median difference per channel, as the papers' decoder does with cell means
    (arXiv 2510.24448). Saturated values are left out, and a channel in which under 5 % remain has no shift.

    Returns:
        (3,) shift within ±``MAX_SHIFT`` RGB units.
    """
    colors = np.asarray(palette, dtype=np.float32)
    inside = (pixels > 1.0) & (pixels < 254.0)
    shift = np.zeros(3, dtype=np.float32)
    for _ in range(rounds):
        difference = pixels - colors[nearest(pixels, shifted(colors, shift))]
        medians = [np.median(difference[inside[:, c], c]) if inside[:, c].mean() > 0.05 else 0.0 for c in range(3)]
        update = np.clip(np.array(medians, dtype=np.float32), -MAX_SHIFT, MAX_SHIFT)
        if np.abs(update - shift).max() < 0.5:
            break
        shift = update
    return shift
