"""What a task family is made of: a rule that draws pairs of an input picture and a target picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.grid import GridCodec
from vdmfewshot.drawing.canvas import TRAIN_PHOTOS, Frame, Rng, photo_bank, photo_crop, texture
from vdmfewshot.drawing.things import random_thing
from vdmfewshot.pretrain.sources.grids import Board

Draw = Callable[[Rng, int], tuple[Frame, Frame]]
"""(random numbers, side in pixels) → input and target (S, S, 3) of one pair of a rule."""
Rule = Callable[[Rng], Draw]
"""Random numbers → a rule of the family, with its parameters."""


def picture(rng: Rng, size: int) -> Frame:
    """A crop of a photo of the corpus, or one to six objects before a surface, (S, S, 3)."""
    if rng.random() < 0.3 and photo_bank(TRAIN_PHOTOS):
        return photo_crop(rng, size, TRAIN_PHOTOS)
    image, smooth = np.ascontiguousarray(texture(rng, size)), rng.random() < 0.7
    for _ in range(whole(rng, 1, 6)):
        random_thing(rng, size).draw(image, 0, smooth)
    return image


def seen_as(change: Callable[[Frame], Frame]) -> Draw:
    """Pairs of a picture and what a function makes of it."""

    def draw(rng: Rng, size: int) -> tuple[Frame, Frame]:
        image = picture(rng, size)
        return image, change(image)

    return draw


def undone(damage: Callable[[Rng, Frame], Frame]) -> Draw:
    """Pairs of a damaged picture and the picture."""

    def draw(rng: Rng, size: int) -> tuple[Frame, Frame]:
        image = picture(rng, size)
        return damage(rng, image), image

    return draw


def draw_boards(boards: tuple[Board, Board], size: int) -> tuple[Frame, Frame]:
    """Draw two boards of the ARC palette with the largest cells that fit both, as the package's codec does."""
    canvas = (size, size)
    codec = GridCodec.fitted([board.shape for board in boards], canvas)
    first, second = (codec.encode(board, Letterbox(board.shape, canvas)) for board in boards)
    return first, second


def on_boards(make: Callable[[Rng], Board], change: Callable[[Board], Board]) -> Draw:
    """Pairs of a board and what a rule makes of it."""

    def draw(rng: Rng, size: int) -> tuple[Frame, Frame]:
        board = make(rng)
        return draw_boards((board, change(board)), size)

    return draw


def chosen(rng: Rng, *values: float) -> float:
    """One of the values."""
    return float(values[int(rng.integers(len(values)))])


def sign(rng: Rng) -> float:
    """-1 or 1."""
    return chosen(rng, -1.0, 1.0)


def whole(rng: Rng, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both included."""
    return int(rng.integers(low, high + 1))


def colors_of(rng: Rng, count: int) -> list[int]:
    """Different colours of the ARC palette, none of them black."""
    return [int(color) for color in rng.permutation(np.arange(1, 10))[:count]]
