"""Joints of a skeleton: which change places in a mirror image, and COCO's x, y, v lists."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.data.coco import numbers

#: words for the two sides
SIDES = {"left": "right", "l": "r", "links": "rechts", "gauche": "droite", "izquierda": "derecha", "sinistra": "destra"}
_SWAP = SIDES | {right: left for left, right in SIDES.items()}
#: a name in parts: words by case, digits, everything between them
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^A-Za-z\d]+")


class UnknownSides(ValueError):
    """It cannot be told which joint another one becomes in a mirror image."""


def mirrored_joints(names: Sequence[str], swaps: Sequence[Sequence[int]] | None = None) -> tuple[int, ...]:
    """For each joint, the index of the joint it becomes in a mirror image.

    Args:
        names: ``left_knee`` ↔ ``right_knee``, ``L-hand`` ↔ ``R-hand``, ``kneeL`` ↔ ``kneeR``, ``nose`` itself.
        swaps: pairs of indices that change places, instead of what the names say.

    Raises:
        UnknownSides: if a name has a side and no twin, or if names repeat.
        ValueError: if ``swaps`` are not pairs of different joints.
    """
    if swaps is not None:
        return _from_swaps(swaps, len(names))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UnknownSides(f"joint names repeat: {', '.join(repeated)}; {_remedy(names)}")
    twins = [next((t for t in mirror_names(name) if t in names and t != name), None) for name in names]
    mirrored = tuple(names.index(twin) if twin else i for i, twin in enumerate(twins))
    lonely = [n for n, twin in zip(names, twins, strict=True) if twin is None and _has_side(n)]
    lonely += [names[i] for i, j in enumerate(mirrored) if mirrored[j] != i]
    if lonely:
        raise UnknownSides(f"joints with a side and no twin: {', '.join(dict.fromkeys(lonely))}; {_remedy(names)}")
    return mirrored


def mirror_names(name: str) -> list[str]:
    """What a joint may be called on the other side, the likeliest first; empty if its name has no side."""
    parts = _PARTS.findall(name)
    found = ["".join(_swapped(part) for part in parts)]
    found += [re.sub("left|right", lambda m: _swapped(m[0]), name, count=1, flags=re.IGNORECASE)]
    found += [_swapped(name[0]) + name[1:], name[:-1] + _swapped(name[-1])] if len(name) > 1 else []
    return [twin for twin in dict.fromkeys(found) if twin != name]


def _swapped(word: str) -> str:
    """The word for the other side in the same case; other words as they are."""
    other = _SWAP.get(word.lower(), word)
    if other == word:
        return word
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def _has_side(name: str) -> bool:
    """Whether a word of a name is a side."""
    return any(part.lower() in _SWAP for part in _PARTS.findall(name))


def _from_swaps(swaps: Sequence[Sequence[int]], count: int) -> tuple[int, ...]:
    mirrored = list(range(count))
    flat = [joint for pair in swaps for joint in pair]
    legal = all(len(pair) == 2 for pair in swaps) and len(set(flat)) == len(flat)
    if not legal or any(not 0 <= joint < count for joint in flat):
        raise ValueError(f"swaps must be pairs of different joints 0 to {count - 1}, each once, got {list(swaps)}")
    for a, b in swaps:
        mirrored[a], mirrored[b] = b, a
    return tuple(mirrored)


def _remedy(names: Sequence[str]) -> str:
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    return (
        f"mirror images (variants > 1) need to know which joints change places: --data.swaps '[[1, 2], …]' ({listed}), "
        "or '[]' for none"
    )


def joint_rows(values: Any, count: int) -> NDArray[np.float64]:
    """COCO's flat x, y, v list as (J, 3). A v of 3 is CropCOCO's for joints beyond the picture.

    Raises:
        ValueError: if there are not three finite numbers a joint, or a v is not 0, 1, 2 or 3.
    """
    try:
        flat = numbers(values)
    except ValueError as error:
        raise ValueError(f"its list of keypoints {error}") from error
    if len(flat) != 3 * count:
        raise ValueError(f"keypoints must be {3 * count} numbers (x, y, v of {count} joints)")
    points = np.array(flat, dtype=np.float64).reshape(count, 3)
    if not np.isin(points[:, 2], (0, 1, 2, 3)).all():
        raise ValueError("keypoints must have visibility 0, 1 or 2")
    return points
