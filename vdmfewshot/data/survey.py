"""What was understood of a data set: counts, sizes, classes, what was left out and why, and what looks odd."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.labelmap import IGNORE
from vdmfewshot.data.examples import DataError, LeftOut, Part

log = logging.getLogger("lightning.pytorch")
#: side in pixels of the miniatures by which a picture that was saved again is recognised, and of their blocks
MINIATURE, BLOCK = 96, 3
#: two saves of one picture: largest difference of any block in brightness and in a colour, of 255, and least
#: correlation of the detail within blocks
SAME, TINT, ALIKE = 5.0, 20.0, 0.7
#: sources named for each reason
NAMED = 3
#: brightest value of a picture that a person would call black
DARK = 16


@dataclass
class Survey:
    """Collects what is seen while all pairs are read once.

    Attributes:
        left_out: what could not be used.
        unseen: whether a scored query must not show a training picture.
        counts: pairs read, by what they are for.
        sizes: (height, width) of the inputs.
        classes: pictures that show a class of a mask or label map, by what they are for.
        twins: a line for each scored picture that looks like a training picture.
        unused: pictures that show nothing of what was asked for, and are in no part.
        dark: keys of inputs in which nothing is brighter than ``DARK``.
    """

    left_out: Sequence[LeftOut] = ()
    unseen: bool = True
    counts: Counter[Part] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    classes: dict[Part, Counter[int]] = field(default_factory=dict)
    twins: list[str] = field(default_factory=list)
    unused: Sequence[str] = ()
    dark: list[str] = field(default_factory=list)
    _miniatures: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def add(self, pair: Pair, part: Part) -> None:
        """Look at one pair."""
        self.counts[part] += 1
        self.sizes[(pair.image.shape[0], pair.image.shape[1])] += 1
        self.dark += [pair.key] if pair.image.max() <= DARK else []
        label = pair.target
        if isinstance(label, np.ndarray) and label.ndim == 2 and label.dtype in (np.bool_, np.uint8):
            self.classes.setdefault(part, Counter()).update(int(v) for v in np.unique(label))
        if self.unseen and part != "unscored":
            self._compare(pair, part)

    def _compare(self, pair: Pair, part: Part) -> None:
        miniature = _miniature(pair.image)
        if part == "support":
            self._miniatures[pair.key] = miniature
        else:
            twin = next((k for k, m in self._miniatures.items() if looks_same(m, miniature)), None)
            self.twins += [f"test picture {pair.key} looks like training picture {twin}, saved again"] if twin else []

    def require_clean(self, strict: bool) -> None:
        """Refuse what was left out.

        Raises:
            DataError: naming each thing, if ``strict``.
        """
        if strict and self.left_out:
            raise DataError(
                [f"{item.source}: {item.reason}" for item in self.left_out],
                "(without --data.strict true these are left out and the rest is used)",
            )

    def notes(self) -> list[str]:
        """One line for each thing that a person should know before training."""
        return [*([f"left out {summarize(self.left_out)}"] if self.left_out else []), *self.doubts()]

    def doubts(self) -> list[str]:
        """One line for each thing that was read, and may be meant otherwise."""
        notes = []
        if self.unused:
            notes.append(f"not used, as nothing that was asked for is labelled there: {_counted(self.unused)}")
        if self.dark:
            notes.append(
                f"almost black (nothing above {DARK} of 255): {_counted(self.dark)}; pictures of 10 to 14 bits in "
                "files of 16 must be scaled to all 16 bits"
            )
        notes += [f"{twin}: its score would be too good" for twin in self.twins[:NAMED]]
        notes += [f"and {len(self.twins) - NAMED} more test pictures like these"] if len(self.twins) > NAMED else []
        known = {*self.classes.get("support", ()), 0, IGNORE}
        unknown = sorted(set(self.classes.get("scored", ())) - known) if "support" in self.classes else []
        if unknown:
            notes.append(
                f"classes {', '.join(map(str, unknown))} occur in scored pictures and in no training pair: nothing "
                "can learn them; choose other pairs (--data.support_seed) or more of them (--data.shots)"
            )
        if set(self.classes.get("support", ())) == {0}:
            notes.append("no training target shows anything but background")
        return notes


def summarize(left_out: Sequence[LeftOut]) -> str:
    """``3: 2 × reason (place, place), 1 × reason (place)``, commonest first."""
    return f"{len(left_out)}: " + "; ".join(by_reason(left_out))


def by_reason(left_out: Sequence[LeftOut]) -> list[str]:
    """``2 × reason (place, place)``, commonest first."""
    places: dict[str, list[str]] = {}
    for item in left_out:
        places.setdefault(item.reason, []).append(item.source)
    groups = sorted(places.items(), key=lambda group: -len(group[1]))
    return [f"{len(found)} × {reason} ({_some(found)})" for reason, found in groups]


def tell(task: str, survey: Survey) -> None:
    """Say what a person should know, one line each."""
    for note in survey.notes():
        say(f"{task}: {note}")


@rank_zero_only
def say(line: str) -> None:
    """A line for people, where Lightning's own go; once, however many processes there are."""
    log.info(line)


def speaks() -> bool:
    """Whether people want such lines, and others that are not about results: not with ``--quiet``."""
    return log.isEnabledFor(logging.INFO)


def _counted(keys: Sequence[str]) -> str:
    return f"{len(keys)} picture{'s' * (len(keys) > 1)} ({_some(keys)})"


def _some(places: Sequence[str]) -> str:
    return ", ".join(places[:NAMED]) + (f" and {len(places) - NAMED} more" if len(places) > NAMED else "")


def looks_same(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Whether two (96, 96, 3) pictures are one, up to compression: blocks and the detail within them agree."""
    (coarse, fine), (other, detail) = _bands(a.mean(axis=2)), _bands(b.mean(axis=2))
    if np.abs(coarse - other).max() > SAME or np.abs(_blocks(a - b)).max() > TINT:
        return False
    energy = float(np.sqrt((fine**2).sum() * (detail**2).sum()))
    return energy > fine.size and float((fine * detail).sum()) >= ALIKE * energy


def _bands(picture: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Block means, and what they leave."""
    blocks = _blocks(picture)
    return blocks, picture - np.kron(blocks, np.ones((BLOCK, BLOCK), dtype=np.float32))


def _blocks(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of blocks of a (96, 96) or (96, 96, 3) picture."""
    side = MINIATURE // BLOCK
    means: NDArray[np.float32] = picture.reshape(side, BLOCK, side, BLOCK, *picture.shape[2:]).mean(axis=(1, 3))
    return means


def _miniature(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(96, 96, 3) RGB."""
    small = cv2.resize(image, (MINIATURE, MINIATURE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)
