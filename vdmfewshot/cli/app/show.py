"""Pieces of the page: pictures inside the page itself, so that no copies of them are left in folders."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vdmfewshot.callbacks.panel import fit

Picture = NDArray[np.uint8]

#: longer side of a picture in a list, and of one that is painted on, in pixels
TILE, CANVAS = 128, 512
#: a colour that few pictures have, and its opacity: what is painted over stays visible
PAINT = ("#e6007e", 0.65)
#: grey of the canvas beside a picture that is no square
RIM = 235
#: what covers more than half of a pixel is part of a mask
OPAQUE = 128


def figure(pictures: Sequence[Picture], caption: str, side: int = TILE) -> str:
    """Pictures side by side with a caption."""
    images = "".join(f'<img src="{data_uri(picture, side)}" alt="{html.escape(caption)}">' for picture in pictures)
    return f"<figure>{images}<figcaption>{html.escape(caption)}</figcaption></figure>"


def figures(items: Iterable[str], nothing: str) -> str:
    """Figures in a row that wraps, or what to say where there are none."""
    inside = "".join(items)
    return f'<div class="figures">{inside}</div>' if inside else note(nothing)


def data_uri(picture: Picture, side: int) -> str:
    """A picture as text, its longer side ``side`` pixels."""
    file = io.BytesIO()
    Image.fromarray(fit(picture, side)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def note(text: str) -> str:
    """A remark."""
    return f'<p class="note">{html.escape(text)}</p>' if text else ""


def problems(texts: Iterable[str]) -> str:
    """What is wrong, one line each, read out by screen readers."""
    lines = "<br>".join(html.escape(line) for text in texts for line in text.splitlines())
    return f'<p class="problem" role="alert">{lines}</p>' if lines else ""


def bar(step: int, steps: int, phase: str) -> str:
    """How far an adaptation is."""
    told = f"{step} of {steps} steps, {phase}"
    return f'<progress value="{step}" max="{steps}" aria-label="steps"></progress> {html.escape(told)}'


def canvas(picture: Picture, mask: Picture | None) -> dict[str, Any]:
    """A picture to paint on, in a size that people can paint on.

    Both fill a square canvas, with an empty rim right or below: gradio shifts layers on canvases of other shapes.

    Args:
        picture: (h, w, 3).
        mask: (h, w) of what is painted already, 0 or 255.
    """
    colour = np.array((*bytes.fromhex(PAINT[0][1:]), round(PAINT[1] * 255)), dtype=np.uint8)
    layers = [] if mask is None else [(_squared(mask, 0)[:, :, None] >= OPAQUE) * colour]
    return {"background": _squared(picture, RIM), "layers": layers, "composite": None}


def painted(layers: Sequence[Picture], picture: Picture) -> NDArray[np.bool_]:
    """(h, w) in pixels of the canvas, without its rim: where any layer (CANVAS, CANVAS, 4) is opaque."""
    height, width = fit(picture, CANVAS).shape[:2]
    covered = np.zeros((height, width), dtype=np.bool_)
    for layer in layers:
        covered |= layer[:height, :width, 3] >= OPAQUE
    return covered


def _squared(picture: Picture, rim: int) -> Picture:
    fitted = fit(picture, CANVAS)
    rims = [(0, CANVAS - side) for side in fitted.shape[:2]]
    return np.pad(fitted, [*rims, *[(0, 0)] * (fitted.ndim - 2)], constant_values=rim)
