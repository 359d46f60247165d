"""Small folders of pictures for the tests of the data modules."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed, size=(24, 20)):
    """(h, w, 3) random but smooth-free uint8 picture."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def make_pairs(root, count=6, folders=("input", "target"), size=(24, 20), seed=0):
    """``count`` pairs a0 … whose target is the inverted input."""
    root = Path(root)
    for i in range(count):
        x = picture([seed, i], size)
        save(root / folders[0] / f"a{i}.png", x)
        save(root / folders[1] / f"a{i}.png", 255 - x)
    return root


def make_masks(root, count=4, folders=("images", "masks"), value=255):
    """``count`` pictures with a rectangle, and its mask."""
    root = Path(root)
    for i in range(count):
        mask = np.zeros((24, 20), np.uint8)
        mask[4 + i : 14 + i, 3:11] = value
        save(root / folders[0] / f"a{i}.png", picture(i))
        save(root / folders[1] / f"a{i}.png", mask)
    return root
