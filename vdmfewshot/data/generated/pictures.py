"""Picture to picture: geometry, colour, edges and restoration, and masks of objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from vdmfewshot.data.generated.scenes import Part, add_objects, photo, picture
from vdmfewshot.drawing.canvas import Frame, Rng, texture, to_frame

Labelled = tuple[Frame, Any]
#: standard deviation of the noise of ``denoise``, of 255
NOISE = 40.0
#: colour of the holes of ``inpaint``
HOLE = 128


def zoomed(image: Frame) -> Frame:
    """The middle quarter of the area at twice its size."""
    size = len(image)
    middle = image[size // 4 : size - size // 4, size // 4 : size - size // 4]
    return np.asarray(cv2.resize(middle, (size, size), interpolation=cv2.INTER_LINEAR))


def edges(image: Frame) -> Frame:
    """Magnitude of the Sobel gradient of the brightness, white on black, saturated at a full step of 128."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 2
    return np.repeat(to_frame(gradient)[..., None], 3, axis=2)


def grey(image: Frame) -> Frame:
    """Brightness in three equal channels."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


#: target as a function of the input
MAPS: dict[str, Callable[[Frame], Frame]] = {
    "horizontal_flip": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "vertical_flip": lambda image: np.ascontiguousarray(image[::-1]),
    "rotate_90": lambda image: np.ascontiguousarray(np.rot90(image)),
    "zoom": zoomed,
    "invert": lambda image: np.asarray(255 - image, np.uint8),
    "edges": edges,
}


def mapped(name: str) -> Callable[[Rng, int, Part], Labelled]:
    """Draws pairs of a picture and its image under one of ``MAPS``."""
    return seen_as(MAPS[name])


def seen_as(change: Callable[[Frame], Frame]) -> Callable[[Rng, int, Part], Labelled]:
    """Draws pairs of a picture and what a function makes of it."""

    def draw(rng: Rng, size: int, part: Part) -> Labelled:
        image = picture(rng, size, part)
        return image, change(image)

    return draw


def canny(image: Frame) -> Frame:
    """Canny's edges, white on black (OpenCV, thresholds 100 and 200)."""
    return np.repeat(cv2.Canny(image, 100, 200)[..., None], 3, axis=2)


def colourise(rng: Rng, size: int, part: Part) -> Labelled:
    """A grey photo and the photo: only photos, because the colours of drawn scenes do not follow from their grey."""
    image = photo(rng, size, part)
    return grey(image), image


def denoise(rng: Rng, size: int, part: Part) -> Labelled:
    """A picture with independent Gaussian noise in every value, and the picture."""
    image = picture(rng, size, part)
    return to_frame(image + rng.normal(0, NOISE, image.shape)), image


def inpaint(rng: Rng, size: int, part: Part) -> Labelled:
    """A picture with two grey squares of a quarter to a third of its side, and the picture."""
    image = picture(rng, size, part)
    holed = image.copy()
    for _ in range(2):
        side = int(rng.integers(size // 4, size // 3 + 1))
        y, x = rng.integers(0, size - side + 1, 2).tolist()
        holed[y : y + side, x : x + side] = HOLE
    return holed, image


def deblur(rng: Rng, size: int, part: Part) -> Labelled:
    """A picture blurred by a Gaussian of a fiftieth of its side, and the picture."""
    image = picture(rng, size, part)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), size / 50), np.uint8), image


def jigsaw(rng: Rng, size: int, part: Part) -> Labelled:
    """A photo whose four quarters changed places, and the photo: every quarter lies elsewhere."""
    image = photo(rng, size, part)
    half = size // 2
    corners = [(0, 0), (0, half), (half, 0), (half, half)]
    while True:
        order = rng.permutation(4)
        if (order != np.arange(4)).all():
            break
    mixed = image.copy()
    for (y, x), (v, u) in zip(corners, (corners[i] for i in order), strict=True):
        mixed[y : y + half, x : x + half] = image[v : v + half, u : u + half]
    return mixed, image


def objects_on_texture(rng: Rng, size: int, part: Part) -> Labelled:
    """Flat objects before a texture, and where they are."""
    image = texture(rng, size, photos=False)
    mask = add_objects(rng, image)
    return image, mask


def objects_on_photo(rng: Rng, size: int, part: Part) -> Labelled:
    """Flat objects before a photo, and where they are."""
    image = photo(rng, size, part)
    mask = add_objects(rng, image)
    return image, mask
