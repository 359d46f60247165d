"""Which input belongs to which target: listing folders, and matching by name with or without a pattern."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vdmfewshot.data.files import files_below
from vdmfewshot.data.pictures import SUFFIXES

#: side-cars that are no pictures: captions, tables of classes, licences
TEXTS = {".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".md", ".yaml", ".yml", ".html", ".cache"}
#: folder of inputs without target
QUERIES = "queries"
#: where the part of a name that input and target share stands in a pattern
STEM = "{stem}"


def list_pictures(folder: Path) -> tuple[list[Path], list[str]]:
    """Picture files of a folder and its sub-folders in name order, and a problem for every file of another type.

    Hidden files, file-manager clutter and text files (captions, tables, licences) are skipped.
    """
    files = [f for f in files_below(folder) if f.suffix.lower() not in TEXTS and (f.suffix or f.stem.upper() != f.stem)]
    known = [f for f in files if f.suffix.lower() in SUFFIXES]
    unknown = [f for f in files if f.suffix.lower() not in SUFFIXES]
    problems = [f"{f}: unsupported file type {f.suffix!r}; use {', '.join(sorted(SUFFIXES))}" for f in unknown]
    problems += [f"{f}: a link to nothing; copy the picture, or remove the link" for f in known if not f.exists()]
    return [f for f in known if f.exists()], problems


def name_of(file: Path, folder: Path) -> str:
    """Path within a folder without suffix, ``site_a/p0``; composed, so that names from a Mac equal their twins."""
    return unicodedata.normalize("NFC", file.relative_to(folder).with_suffix("").as_posix())


def bare_name(name: str) -> str:
    """A name without the picture suffixes that are part of it: ``p0.jpg`` (of ``p0.jpg.png``) → ``p0``."""
    stem, dot, suffix = name.rpartition(".")
    return bare_name(stem) if dot and f".{suffix.lower()}" in SUFFIXES else name


@dataclass(frozen=True)
class NamePattern:
    """What names of targets look like, given those of the inputs.

    Attributes:
        input: pattern of input names, such as ``{stem}_image``.
        target: pattern of target names, such as ``{stem}_mask``.
    """

    input: str = STEM
    target: str = STEM

    @classmethod
    def parse(cls, text: str | None) -> NamePattern:
        """``"{stem}_mask.png"``, or ``"{stem}_image.jpg -> {stem}_mask.png"``; suffixes may be left out.

        Raises:
            ValueError: if ``{stem}`` is not there exactly once on each side.
        """
        if text is None:
            return cls()
        sides = [side.strip() for side in text.split("->")]
        if len(sides) > 2 or any(side.count(STEM) != 1 for side in sides):
            raise ValueError(
                "pattern must hold {stem} once, like '{stem}_mask.png', or once on each side of an arrow, like "
                f"'{{stem}}_image.jpg -> {{stem}}_mask.png', got {text!r}"
            )
        return cls(*([STEM] * (2 - len(sides)) + [_without_suffix(side) for side in sides]))

    def stem(self, name: str, side: str) -> str | None:
        """What stands for ``{stem}`` in a name, folders included; ``None`` if it does not fit the pattern."""
        folder, slash, last = name.rpartition("/")
        before, after = (re.escape(part) for part in side.split(STEM))
        found = re.fullmatch(f"{before}(.+){after}", last) or re.fullmatch(f"{before}(.+){after}", bare_name(last))
        return None if found is None else folder + slash + found[1]


def _without_suffix(pattern: str) -> str:
    head, dot, tail = pattern.rpartition(".")
    return head if dot and f".{tail.lower()}" in SUFFIXES else pattern


def match_by_name(
    inputs: Path, targets: Path, pattern: NamePattern | None = None, some: bool = False
) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Match files of two folders by name without suffix (``a.jpg`` with ``a.png``), sub-folders included.

    The two folders may be one, where a pattern tells targets from inputs. With ``some``, inputs need no target.

    Returns:
        The matched (input, target) files in name order, and a problem for each file without exactly one partner.
    """
    pattern = pattern or NamePattern()
    for folder in (inputs, targets):
        if not folder.is_dir():
            return [], [f"{folder}: no such folder"]
    (ours, wrong), (theirs, wrong_too) = list_pictures(inputs), list_pictures(targets)
    if inputs == targets:
        ours = theirs = [file for file in ours if file.relative_to(inputs).parts[0] != QUERIES]
    problems = [*dict.fromkeys([*wrong, *wrong_too])]
    problems += [f"{f}: no pictures" for f, found in ((inputs, ours), (targets, theirs)) if not found]
    second = _keyed(theirs, targets, pattern.target, pattern)
    taken = {file for group in second.values() for file in group} if inputs == targets else set()
    first = _keyed([f for f in ours if f not in taken], inputs, pattern.input, pattern)
    for groups in (first, second):
        twins = [group for group in groups.values() if len(group) > 1]
        problems += [f"{group[0]}: same name as {', '.join(f.name for f in group[1:])}; keep one" for group in twins]
    _join_bare(first, second)
    alone = ([] if some else _unmatched(first, second, targets)) + (
        [] if inputs == targets else _unmatched(second, first, inputs)
    )
    remedy = propose(first, second) if alone and pattern == NamePattern() else ""
    if remedy:
        alone = [f"{len(alone)} files of {inputs} and {targets} have no partner of the same name; {remedy}"]
    return [(first[stem][0], second[stem][0]) for stem in first if stem in second], problems + alone


def _keyed(files: Sequence[Path], folder: Path, side: str, pattern: NamePattern) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for file in files:
        stem = pattern.stem(name_of(file, folder), side)
        if stem is not None:
            groups.setdefault(stem, []).append(file)
    return groups


def _join_bare(first: dict[str, list[Path]], second: dict[str, list[Path]]) -> None:
    """Give targets named after the whole input file (``p0.jpg.png``), or the reverse, the name of their partner."""
    for ours, theirs in ((first, second), (second, first)):
        free = {bare_name(stem): stem for stem in theirs if stem not in ours and bare_name(stem) != stem}
        for stem in [stem for stem in ours if stem not in theirs and stem in free]:
            theirs[stem] = theirs.pop(free[stem])


def _unmatched(ours: dict[str, list[Path]], theirs: dict[str, list[Path]], folder: Path) -> list[str]:
    free = [stem for stem in theirs if stem not in ours]
    problems = []
    for stem in (stem for stem in ours if stem not in theirs):
        near = difflib.get_close_matches(stem, free, n=1, cutoff=0.5)
        hint = f" (rename {theirs[near[0]][0].name}?)" if near else ""
        problems.append(f"{ours[stem][0]}: no file named {stem!r} in {folder}{hint}")
    return problems


def propose(inputs: Mapping[str, object], targets: Mapping[str, object]) -> str:
    """The pattern that gives every input without a partner one, as what to type; empty if there is none."""
    ours, theirs = (sorted(set(a) - set(b)) for a, b in ((inputs, targets), (targets, inputs)))
    if not ours or len(theirs) < len(ours):
        return ""
    near = sorted(theirs, key=lambda name: -_shared(name, ours[0]))[:5]
    for target in near:
        for length in range(len(ours[0]), 0 if len(ours) > 1 else len(ours[0]) - 1, -1):
            pattern = _template(ours[0], ours[0][:length], target)
            if pattern and _fits(pattern, ours, theirs):
                arrow = f"{pattern.input} -> " if pattern.input != STEM else ""
                return f"if names follow a pattern: --data.pattern '{arrow}{pattern.target}'"
    return ""


def _shared(a: str, b: str) -> int:
    """Letters that two names have in common at the start."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _template(name: str, stem: str, target: str) -> NamePattern | None:
    if "/" in name.removeprefix(stem) or not stem[-1].isalnum():
        return None
    last, bare = target.rpartition("/")[2], stem.rpartition("/")[2]
    return NamePattern(STEM + name.removeprefix(stem), last.replace(bare, STEM, 1)) if last.count(bare) == 1 else None


def _fits(pattern: NamePattern, ours: Sequence[str], theirs: Sequence[str]) -> bool:
    stems = [pattern.stem(name, pattern.input) for name in ours]
    known = {pattern.stem(name, pattern.target) for name in theirs}
    return None not in stems and len(set(stems)) == len(stems) and set(stems) <= known


def propose_single(names: Sequence[str]) -> str:
    """The pattern of targets that lie beside their inputs (``p0`` and ``p0_mask``), as what to type."""
    known = set(names)
    for first in sorted(names)[:5]:
        for twin in sorted(name for name in names if name.startswith(first) and name != first):
            ending = twin.removeprefix(first)
            inputs = [name for name in names if not name.endswith(ending)]
            if len(inputs) * 2 == len(names) and all(name + ending in known for name in inputs):
                return f"targets beside their inputs are told by a pattern: --data.pattern '{STEM}{ending}'"
    return ""
