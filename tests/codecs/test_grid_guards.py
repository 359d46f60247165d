"""What keeps a frame without a grid from being read as one, and must not keep a drawn grid out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from tests.codecs.degradations import blur
from tests.codecs.test_grid import exact, square
from vdmfewshot.codecs import GridCodec
from vdmfewshot.codecs.grid import CERTAIN


@pytest.mark.parametrize("sigma", [1.0, 2.0, 2.6])
def test_a_board_of_large_cells_whose_thin_lines_blurred_away_is_read(sigma):
    """Four cells of 97 px fill the papers' canvas: nothing but lines of 2 px is around them."""
    codec, box = GridCodec.paper_parity(97), square(400)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        grid = rng.integers(0, 10, (4, 4))
        frame = blur(codec.encode(grid, box).astype(np.float32), sigma) + rng.normal(0, 5, 3)
        decoded = codec.decode(frame, box, size=(4, 4))
        assert decoded.details["explained"] >= CERTAIN
        assert exact(decoded, grid)


@pytest.mark.parametrize("cell", [40, 97, 197])
def test_photographs_on_the_canvas_of_the_papers_are_never_certain(cell):
    codec, rng = GridCodec.paper_parity(cell), np.random.default_rng(cell)
    for photo in (skimage.data.chelsea(), skimage.data.astronaut(), skimage.data.coffee(), skimage.data.colorwheel()):
        side = int(rng.integers(150, min(photo.shape[:2])))
        frame = cv2.resize(photo[:side, :side, :3], (400, 400), interpolation=cv2.INTER_AREA)
        for count in {1, 2, (400 - 2) // (cell + 2)}:
            assert codec.decode(frame, square(400), size=(count, count)).details.get("explained", 0.0) < CERTAIN


#: explained, contrast, surround and residual of readings at cells without lines (gap 0) and with lines
READINGS = [
    (True, 0, 0.76, 48.0, 0.50, 5.22),
    (True, 0, 0.78, 25.9, 0.49, 9.91),
    (True, 0, 0.71, 63.9, 0.13, 8.65),
    (True, 0, 0.84, 100.7, 0.07, 12.65),
    (True, 1, 0.52, 128.8, 0.28, 9.13),
    (True, 1, 0.47, 91.1, 0.44, 0.0),
    (True, 2, 0.97, 90.0, 0.68, 6.0),
    (False, 0, 0.48, 114.6, 0.48, 3.08),
    (False, 0, 0.60, 115.6, 0.17, 10.19),
    (False, 0, 0.79, 126.2, 0.36, 14.95),
    (False, 0, 0.96, 95.6, 1.0, 8.99),
    (False, 2, 0.46, 136.6, 0.58, 8.94),
    (False, 2, 0.47, 61.7, 0.58, 13.92),
]


@pytest.mark.parametrize(("drawn", "gap", "explained", "contrast", "surround", "residual"), READINGS)
def test_degraded_grids_and_photographs_are_told_apart(drawn, gap, explained, contrast, surround, residual):
    """As measured: grids drawn and then blurred, faded or compressed; photographs of coins, a cat, a horse."""
    details = {"explained": explained, "contrast": contrast, "surround": surround, "residual": residual}
    assert GridCodec(4, gap=gap)._is_drawn(details) is drawn
