"""What every reader of joints yields: pictures with people, and what could not be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.data.examples import LeftOut
from vdmfewshot.data.formats.things import Reading, Size

#: what a person is called where only joints are labelled
PERSON = "person"
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Skeleton:
    """One person, in pixels of the picture.

    Attributes:
        label: name of the class.
        place: names it in a message.
        joints: x, y, visibility (1: hidden, 2: seen) by name; those that are not labelled are missing.
        box: x, y, width, height; around the joints if not given.
    """

    label: str
    place: str
    joints: Mapping[str, tuple[float, float, float]]
    box: Box | None = None

    def points(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        """(J, 3) in the order of names, 0 for what is not labelled."""
        return np.array([self.joints.get(name, (0.0, 0.0, 0.0)) for name in names], dtype=np.float64)

    def around(self) -> Box:
        """The box, or the smallest one around the joints, at least a pixel wide and high."""
        if self.box is not None:
            return self.box
        places = np.array([joint[:2] for joint in self.joints.values()])
        (x, y), (width, height) = places.min(axis=0), np.maximum(np.ptp(places, axis=0), 1.0)
        return float(x), float(y), float(width), float(height)


@dataclass(frozen=True)
class Posed:
    """A picture with its people; see ``Labelled``."""

    file: Path
    people: tuple[Skeleton, ...]
    size: Size | None = None
    part: str = ""


@dataclass(kw_only=True)
class PoseExport(Reading):
    """What a reader of joints found.

    Attributes:
        pictures: with people.
        swaps: pairs of joints that change places in mirror images, if it says.
    """

    pictures: list[Posed] = field(default_factory=list)
    swaps: list[list[int]] | None = None

    def joints(self) -> tuple[str, ...]:
        """All joints: those that are listed, then others in the order in which they come."""
        people = [person for picture in self.pictures for person in picture.people]
        return tuple(dict.fromkeys([*self.names, *(name for person in people for name in person.joints)]))


@dataclass
class Groups:
    """Joints and boxes that belong together, as tools say it by a number or an id; without one all are one person."""

    export: PoseExport
    joints: dict[Any, dict[str, tuple[float, float, float]]] = field(default_factory=dict)
    boxes: dict[Any, tuple[str, Box]] = field(default_factory=dict)
    places: dict[Any, str] = field(default_factory=dict)

    def add(self, group: Any, name: str, x: float, y: float, visibility: float, place: str) -> None:
        """Add a joint; one that its person has already is left out."""
        known = self.joints.setdefault(group, {})
        self.places.setdefault(group, place)
        if name in known:
            reason = "a joint that its person has twice: give every person a group of its own in the tool"
            self.export.left_out.append(LeftOut(place, reason))
        elif not np.isfinite([x, y]).all():
            self.export.left_out.append(LeftOut(place, "a joint whose place is not finite"))
        else:
            known[name] = (x, y, visibility)

    def people(self) -> Iterator[Skeleton]:
        """One person for each group with joints."""
        for group, joints in self.joints.items():
            label, box = self.boxes.get(group, (PERSON, None))
            if joints:
                yield Skeleton(label, self.places[group], joints, box)
