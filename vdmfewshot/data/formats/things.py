"""What every reader of an export yields: pictures with labelled things, and what could not be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.data.coco_masks import check_segmentation, instances_mask, normalised, outside
from vdmfewshot.data.examples import LeftOut
from vdmfewshot.data.formats.finding import Pictures
from vdmfewshot.data.pictures import read_size

Size = tuple[int, int]
#: why a file of labels is left out
RENAMED = "it names another picture than the one of its own name: one was renamed; correct the name in the file"
SECOND = "a second file of labels for one picture; keep one"
#: corners of the polygon that stands for a circle or an ellipse
CORNERS = 64


@dataclass(frozen=True)
class Thing:
    """One labelled thing, in pixels of its picture.

    Attributes:
        label: name of its class.
        place: names it in a message.
        outline: list of polygons [x, y, x, y, …], or a run-length code of COCO; ``None`` if only a box is known.
        box: x, y, width, height; ``None`` if an outline is known.
    """

    label: str
    place: str
    outline: list[Any] | dict[str, Any] | None = None
    box: tuple[float, float, float, float] | None = None

    def shape(self) -> list[Any] | dict[str, Any]:
        """The outline, or the box as a polygon."""
        if self.outline is not None or self.box is None:
            return self.outline or []
        x, y, width, height = self.box
        return [[x, y, x + width, y, x + width, y + height, x, y + height]]

    def check(self, size: Size) -> None:
        """Refuse what cannot be drawn on a picture of (height, width).

        Raises:
            ValueError: with a reason that is the same for all that break the rule.
        """
        if self.outline is None and self.box is not None:
            check_box(self.box, size)
        else:
            check_segmentation(self.shape(), size)


@dataclass(frozen=True)
class Labelled:
    """A picture with its things.

    Attributes:
        file: the picture, which exists.
        name: what its key is made of: the path within the export, without suffix.
        things: those that can be drawn.
        size: (height, width) that the things are in, if the export states it; else that of the upright picture.
        part: ``train``, ``val``, ``test``, or empty without split.
    """

    file: Path
    name: str
    things: tuple[Thing, ...]
    size: Size | None = None
    part: str = ""


@dataclass(kw_only=True)
class Reading:
    """What a reader of any labels says beside them.

    Attributes:
        left_out: what cannot be used.
        problems: what must be put right first: pictures that are missing.
        names: classes or joints that the export lists, in its order.
    """

    left_out: list[LeftOut] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    _owners: dict[Path, Path] = field(default_factory=dict)

    def accepts(self, file: Path, picture: Path, pictures: Pictures) -> bool:
        """Whether a picture is that of a file of labels, and of no other file; else the file is left out."""
        reason = RENAMED if pictures.belies(file, picture) else ""
        if not reason and self._owners.setdefault(picture, file) != file:
            reason = SECOND
        self.left_out += [LeftOut(file.name, reason)] if reason else []
        return not reason


@dataclass(kw_only=True)
class Export(Reading):
    """What a reader of areas found.

    Attributes:
        pictures: with things that can be drawn.
    """

    pictures: list[Labelled] = field(default_factory=list)
    _places: dict[tuple[Path, Size | None, str], int] = field(default_factory=dict)

    def add(self, file: Path, name: str, things: Sequence[Thing], size: Size | None, part: str = "") -> None:
        """Add a picture with those of its things that can be drawn, to what is known of it from another list."""
        kept = []
        for thing in things:
            try:
                thing.check(size or read_size(file))
            except ValueError as error:
                self.left_out.append(LeftOut(thing.place, str(error)))
            else:
                kept.append(thing)
        place = self._places.setdefault((file, size, part), len(self.pictures))
        if place < len(self.pictures):
            kept = [*self.pictures[place].things, *kept]
        self.pictures[place:] = [Labelled(file, name, tuple(kept), size, part), *self.pictures[place + 1 :]]

    def without_loose_boxes(self) -> Export:
        """If any thing has an outline, boxes without one are left out: a filled box is no mask of its thing."""
        things = [thing for picture in self.pictures for thing in picture.things]
        if not any(thing.outline is not None for thing in things):
            return self
        loose = [LeftOut(thing.place, "a box without an outline") for thing in things if thing.outline is None]
        pictures = [replace(p, things=tuple(t for t in p.things if t.outline is not None)) for p in self.pictures]
        left_out = [*self.left_out, *loose]
        return Export(pictures=pictures, left_out=left_out, problems=self.problems, names=self.names)


def check_box(box: Sequence[float], size: Size) -> None:
    """Refuse a box x, y, width, height that is empty, or of another scale than its picture.

    Raises:
        ValueError: with the reason.
    """
    x, y, width, height = box
    corners = np.array([[x, y], [x + width, y + height]], dtype=np.float64)
    if not np.isfinite(corners).all():
        raise ValueError("its box holds a number that is not finite")
    if width <= 0 or height <= 0:
        raise ValueError("its box is empty")
    if outside(corners, size):
        raise ValueError("its box lies outside the picture: of another size?")
    if normalised(corners, size):
        raise ValueError("its box lies within 0-1, as if divided by the picture's size: multiply it")


def draw_mask(things: Sequence[Thing], size: Size) -> NDArray[np.bool_]:
    """(h, w) bool, ``True`` on any of the things."""
    mask = np.zeros(size, dtype=bool)
    for thing in things:
        mask |= instances_mask([thing.shape()], size)
    return mask


def draw_labels(things: Sequence[Thing], size: Size, names: Sequence[str]) -> NDArray[np.uint8]:
    """(h, w) uint8: 0 for the background, 1 + index for each class; small things lie on large ones."""
    masks = [(instances_mask([thing.shape()], size), names.index(thing.label) + 1) for thing in things]
    labels = np.zeros(size, dtype=np.uint8)
    for mask, value in sorted(masks, key=lambda entry: -int(entry[0].sum())):
        labels[mask] = value
    return labels


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> list[float]:
    """Polygon of an ellipse about (x, y), turned clockwise."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    points = np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)
    return turned_about(points, (x, y), degrees)


def turned_about(points: NDArray[np.float64], centre: tuple[float, float], degrees: float) -> list[float]:
    """(n, 2) points as a flat polygon, turned clockwise, as tools show it, about a point."""
    turn = np.radians(degrees)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    flat: list[float] = ((points - centre) @ matrix + centre).ravel().tolist()
    return flat


def run_length(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A (h, w) mask as COCO's run-length code: counts column by column, background first."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes.tolist(), flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}
