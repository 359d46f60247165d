"""Families that change colours, and those that restore them. Negatives and exchanged channels are kept back."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vdmfewshot.drawing.canvas import Floats, Frame, Rng, distinct_colors, to_frame
from vdmfewshot.pretrain.tasks.pairs import Draw, Rule, chosen, seen_as, sign, undone, whole

GREY = np.array([0.299, 0.587, 0.114])


def _grey(image: Frame) -> Floats:
    return np.asarray(image @ GREY)


def gain(rng: Rng) -> Draw:
    """Each channel is made brighter or darker by a factor."""
    factors = rng.uniform(0.3, 1.8, 3)
    return seen_as(lambda image: to_frame(image * factors))


def gamma(rng: Rng) -> Draw:
    """Dark parts become brighter, or bright ones darker."""
    table = to_frame(255 * (np.arange(256) / 255) ** (rng.uniform(1.6, 3.0) ** sign(rng)))
    return seen_as(lambda image: table[image])


def contrast(rng: Rng) -> Draw:
    """Differences from a level of grey become larger or smaller."""
    factor, level = rng.uniform(1.6, 3.0) ** sign(rng), rng.uniform(60, 200)
    return seen_as(lambda image: to_frame((image - level) * factor + level))


def saturation(rng: Rng) -> Draw:
    """Colours become paler, grey or stronger."""
    factor = chosen(rng, 0.0, rng.uniform(0.1, 0.5), rng.uniform(1.7, 3.0))
    return seen_as(lambda image: to_frame(_grey(image)[..., None] * (1 - factor) + image * factor))


def hue(rng: Rng) -> Draw:
    """All hues move along the circle by 20 to 80 degrees, short of an exchange of channels."""
    turn = whole(rng, 10, 40) * int(sign(rng))

    def change(image: Frame) -> Frame:
        values = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        values[..., 0] = (values[..., 0].astype(int) + turn) % 180
        return np.asarray(cv2.cvtColor(values, cv2.COLOR_HSV2RGB), np.uint8)

    return seen_as(change)


def posterise(rng: Rng) -> Draw:
    """Only two to four levels of each channel are left."""
    levels = whole(rng, 2, 4)
    table = to_frame((np.arange(256) * levels // 256) * 255 / (levels - 1))
    return seen_as(lambda image: table[image])


def duotone(rng: Rng) -> Draw:
    """Brightness as a mixture of two colours."""
    low, high = (np.array(color) for color in distinct_colors(rng, 2, 200))
    return seen_as(lambda image: to_frame(low + (_grey(image) / 255)[..., None] * (high - low)))


def thermal(rng: Rng) -> Draw:
    """Brightness on a scale of three to five colours."""
    stops = np.array(distinct_colors(rng, whole(rng, 3, 5), 150))
    places = np.linspace(0, 255, len(stops))
    scale = to_frame(np.stack([np.interp(np.arange(256), places, stops[:, i]) for i in range(3)], 1))
    return seen_as(lambda image: scale[to_frame(_grey(image))])


def one_channel(rng: Rng) -> Draw:
    """Only one or two channels are left; the others are black."""
    kept = rng.permutation(((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1)))[0]
    return seen_as(lambda image: np.asarray(image * kept, np.uint8))


def gradient(rng: Rng) -> Draw:
    """It becomes darker towards one side, or towards the edges."""
    weight = _light(rng)
    return seen_as(lambda image: to_frame(image * weight(len(image))))


def _light(rng: Rng) -> Callable[[int], Floats]:
    angle, depth, round_ = rng.uniform(0, 6.3), rng.uniform(0.6, 0.85), rng.random() < 0.4

    def weight(size: int) -> Floats:
        ys, xs = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1
        way = np.hypot(xs, ys) / 1.4 if round_ else (1 + (xs * np.cos(angle) + ys * np.sin(angle)) / 1.4) / 2
        return np.asarray(1 - depth * way)[..., None]

    return weight


def faded(rng: Rng) -> Draw:
    """A picture of little contrast, restored."""
    factor, level = rng.uniform(0.2, 0.45), rng.uniform(60, 200)
    return undone(lambda rng, image: to_frame((image - level) * factor + level))


def tinted(rng: Rng) -> Draw:
    """A picture under coloured light, restored."""
    factors = rng.permutation([1.0, rng.uniform(0.5, 0.8), rng.uniform(0.25, 0.5)])
    return undone(lambda rng, image: to_frame(image * factors))


def shaded(rng: Rng) -> Draw:
    """A picture that is darker towards one side or the edges, restored."""
    weight = _light(rng)
    return undone(lambda rng, image: to_frame(image * weight(len(image))))


def coarse(rng: Rng) -> Draw:
    """A picture of large picture elements, restored."""
    cell = whole(rng, 2, 5)

    def damage(rng: Rng, image: Frame) -> Frame:
        side = max(1, len(image) // cell)
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, image.shape[:2], interpolation=cv2.INTER_NEAREST), np.uint8)

    return undone(damage)


def interlaced(rng: Rng) -> Draw:
    """A picture with every second or third row or column black, restored."""
    step, axis = whole(rng, 2, 4), int(rng.integers(2))

    def damage(rng: Rng, image: Frame) -> Frame:
        damaged = image.copy()
        damaged[(slice(None),) * axis + (slice(None, None, step),)] = 0
        return damaged

    return undone(damage)


def foggy(rng: Rng) -> Draw:
    """A picture behind uneven fog, restored."""
    thick, white = rng.uniform(0.4, 0.7), rng.uniform(180, 255)

    def damage(rng: Rng, image: Frame) -> Frame:
        coarse = rng.random((4, 4)).astype(np.float32)
        fog = thick * cv2.resize(coarse, image.shape[:2], interpolation=cv2.INTER_CUBIC).clip(0, 1)[..., None]
        return to_frame(image * (1 - fog) + white * fog)

    return undone(damage)


COLORS: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (gain, gamma, contrast, saturation, hue, posterise, duotone, thermal, one_channel, gradient)
}
RESTORATION: dict[str, Rule] = {rule.__name__: rule for rule in (faded, tinted, shaded, coarse, interlaced, foggy)}
