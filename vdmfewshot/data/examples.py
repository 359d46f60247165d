"""Examples that are read on demand, and errors that name every bad file at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, overload

import numpy as np

from vdmfewshot.clips.clip import Pair

#: what a pair is for: training, a score, or neither
Part = Literal["support", "scored", "unscored"]
#: problems spelled out in one message; the rest is counted
SHOWN = 50


class DataError(ValueError):
    """Data on disk break a rule. The message lists every problem, one a line.

    Attributes:
        problems: ``place: reason`` for each bad file or item.
    """

    def __init__(self, problems: Sequence[str], remedy: str = "") -> None:
        self.problems = list(problems)
        lines = [f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)} in the data:"]
        lines += [f"  - {problem}" for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"  - and {len(self.problems) - SHOWN} more")
        super().__init__("\n".join([*lines, remedy] if remedy else lines))


@dataclass(frozen=True)
class Example:
    """A pair that has not been read yet.

    Attributes:
        key: key of the pair that ``read`` returns.
        source: what to name in an error: a file, or a file and an item in it.
        read: reads the pair; picklable, so that loader workers can call it.
    """

    key: str
    source: str
    read: Callable[[], Pair]


@dataclass(frozen=True)
class LeftOut:
    """One thing of a data set that cannot be used, while the rest can.

    Attributes:
        source: where it is, such as ``ann.json: annotation 7``.
        reason: the rule that it breaks, in words that are the same for all that break it.
    """

    source: str
    reason: str


@dataclass(frozen=True)
class Splits:
    """What a data set offers, before shots are chosen.

    Attributes:
        pool: labelled examples from which the support set is drawn.
        validate: labelled examples for validation.
        test: labelled examples for the final score.
        predict: inputs to predict; truth may be missing. The test inputs if there are none.
        hold_out: ``True`` if there is no test set of its own: then whatever the support set leaves over is tested.
        problems: what is already known to be wrong; reported together with the unreadable files.
        left_out: what cannot be used while the rest can: counted and named in one line, or refused.
        unused: pictures in which nothing is labelled that was asked for.
    """

    pool: Sequence[Example]
    validate: Sequence[Example] = ()
    test: Sequence[Example] = ()
    predict: Sequence[Example] = ()
    hold_out: bool = False
    problems: Sequence[str] = field(default_factory=tuple)
    left_out: Sequence[LeftOut] = field(default_factory=tuple)
    unused: Sequence[str] = field(default_factory=tuple)


class LazyPairs(Sequence[Pair]):
    """A sequence of pairs, each read from disk when it is asked for."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self.examples = tuple(examples)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> LazyPairs: ...
    def __getitem__(self, index: int | slice) -> Pair | LazyPairs:
        if isinstance(index, slice):
            return LazyPairs(self.examples[index])
        return self.examples[index].read()

    def __len__(self) -> int:
        return len(self.examples)


def safe_key(name: str) -> str:
    """A file name or task name → a legal ``Pair.key``; different names keep different keys.

    Characters other than letters, digits and ``._-`` become ``_`` and names end after 100 characters; a changed name
    gets 8 digits of its SHA-256.
    """
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).lstrip(".")[:100]
    return safe if safe == name and safe else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def picture_digest(pair: Pair) -> str:
    """SHA-256 of size and pixels of the input picture: how a query is recognised in the support set."""
    return hashlib.sha256(f"{pair.image.shape}".encode() + pair.image.tobytes()).hexdigest()


def choose_support(
    pool: Sequence[Example], shots: int | None, support_seed: int
) -> tuple[list[Example], list[Example]]:
    """The n-shot support set and the rest of the pool, which keeps its order.

    The n-shot sets of one seed are nested: each is the first n of one permutation. An empty pool (a folder to predict
    with a finished adapter) gives an empty set.

    Raises:
        ValueError: if there are examples, but fewer than ``shots``.
    """
    if pool and shots is not None and shots > len(pool):
        raise ValueError(f"shots must be at most {len(pool)}, the number of labelled training pairs, got {shots}")
    order = np.random.default_rng(support_seed).permutation(len(pool))[:shots].tolist()
    rest = sorted(set(range(len(pool))) - set(order))
    return [pool[i] for i in order], [pool[i] for i in rest]


def evenly_spaced(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most ``limit`` examples, spread over all of them in order."""
    if limit is None or len(examples) <= limit:
        return list(examples)
    return [examples[i * len(examples) // limit] for i in range(limit)]


def read_and_check(
    support: Sequence[Example],
    scored: Sequence[Example],
    unscored: Sequence[Example],
    draw: Callable[[Pair], object],
    problems: Sequence[str] = (),
    unseen: bool = True,
    look: Callable[[Pair, Part], None] = lambda pair, part: None,
) -> list[Pair]:
    """Read every example once, draw every training label, and report all that is wrong together.

    Args:
        support: training pairs; kept.
        scored: queries with truth. The truth is not drawn: one that the codec cannot draw (an ARC answer larger than
            anything seen) is a failed prediction, not bad data.
        unscored: inputs to predict and unused training pairs.
        draw: encodes a pair's target, raising ValueError if the label breaks a rule of the codec.
        problems: what is already known to be wrong.
        unseen: whether a scored query must not show a picture of the support set.
        look: is shown every pair that was read, and what it is for.

    Returns:
        The support pairs.

    Raises:
        DataError: listing every problem, by place.
    """
    found = list(problems)
    pairs = [pair for example in support if (pair := _read(example, found, draw)) is not None]
    for pair in pairs:
        look(pair, "support")
    trained = {picture_digest(pair): pair.key for pair in pairs} if unseen else {}
    for example in dict.fromkeys(scored):
        query = _read(example, found)
        if query is not None:
            look(query, "scored")
        twin = trained.get(picture_digest(query)) if query else None
        if twin is not None:
            found.append(f"{example.source}: same picture as training pair {twin!r}; a scored query must be unseen")
    done = set(scored)
    for example in dict.fromkeys(unscored):
        spare = None if example in done else _read(example, found, labelled=False)
        if spare is not None:
            look(spare, "unscored")
    if found:
        raise DataError(sorted(set(found)))
    return pairs


def _read(
    example: Example, problems: list[str], draw: Callable[[Pair], object] | None = None, labelled: bool = True
) -> Pair | None:
    """The pair, or ``None`` with one more problem if it cannot be read or its label cannot be drawn."""
    try:
        pair = example.read()
        if labelled and pair.target is None:
            raise ValueError("has no target")
        if draw:
            draw(pair)
    except (ValueError, OSError) as error:
        text = str(error)
        other_file = ": " not in example.source and Path(text.partition(": ")[0]).is_absolute()
        names_file = other_file or text.startswith(example.source)
        problems.append(text if names_file else f"{example.source}: {text}")
        return None
    return pair
