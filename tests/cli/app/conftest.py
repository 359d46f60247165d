from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six 64 px pictures of a bright disc in noise, p0.png …, and where it is, p0_mask.png …"""
    folder = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)
    for i in range(6):
        y, x = rng.integers(20, 44, 2).tolist()
        mask = cv2.circle(np.zeros((64, 64), np.uint8), (x, y), 14, 255, -1)
        picture = rng.integers(0, 90, (64, 64, 3), dtype=np.uint8)
        picture[mask > 0] = (60, 200, 230)
        cv2.imwrite(str(folder / f"p{i}.png"), picture)
        cv2.imwrite(str(folder / f"p{i}_mask.png"), mask)
    return folder
