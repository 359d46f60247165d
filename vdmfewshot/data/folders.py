"""Folders of inputs and targets: layouts, matching by name, and the samples that ship with the package."""

from __future__ import annotations

import difflib
import functools
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vdmfewshot.clips.clip import Pair
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import DataError, Example, Splits, safe_key
from vdmfewshot.data.pictures import Background, list_pictures, read_picture
from vdmfewshot.data.readers import TargetReader
from vdmfewshot.data.sources import SAMPLE, resolve

#: sub-folders of the layout with a split
PARTS = ("train", "val", "test")


def match_by_name(inputs: Path, targets: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Match files of two folders by name without suffix (``a.jpg`` with ``a.png``).

    Returns:
        The matched (input, target) files in name order, and a problem for each file without exactly one partner.
    """
    by_stem: list[dict[str, list[Path]]] = []
    problems: list[str] = []
    for folder in (inputs, targets):
        if not folder.is_dir():
            return [], [f"{folder}: no such folder"]
        pictures, unreadable = list_pictures(folder)
        problems += unreadable
        by_stem.append(_by_stem(pictures))
        if not pictures:
            problems.append(f"{folder}: no pictures")
        twins = [group for group in by_stem[-1].values() if len(group) > 1]
        problems += [f"{group[0]}: same name as {', '.join(f.name for f in group[1:])}; keep one" for group in twins]
    problems += _unmatched(by_stem[0], by_stem[1], targets) + _unmatched(by_stem[1], by_stem[0], inputs)
    return [(by_stem[0][stem][0], by_stem[1][stem][0]) for stem in by_stem[0] if stem in by_stem[1]], problems


def _by_stem(pictures: Sequence[Path]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for file in pictures:
        groups.setdefault(file.stem, []).append(file)
    return groups


def _unmatched(ours: dict[str, list[Path]], theirs: dict[str, list[Path]], folder: Path) -> list[str]:
    free = [stem for stem in theirs if stem not in ours]
    problems = []
    for stem in (stem for stem in ours if stem not in theirs):
        near = difflib.get_close_matches(stem, free, n=1, cutoff=0.5)
        hint = f" (rename {theirs[near[0]][0].name}?)" if near else ""
        problems.append(f"{ours[stem][0]}: no file named {stem!r} in {folder}{hint}")
    return problems


def read_example(
    key: str, file: Path, target: Path | None, reader: TargetReader, background: Background, task: str
) -> Pair:
    """Read an input picture and, if there is one, its target."""
    image = read_picture(file, background)
    return Pair(key, image, None if target is None else reader(target, image), {"task": task, "source": file.name})


class FolderDataModule(FewShotDataModule):
    """Inputs and targets in two folders, matched by file name.

    Layouts, with the folder names of the subclass:

    * any of ``root/train/{input,target}``, ``root/val/{input,target}`` and ``root/test/{input,target}``;
    * ``root/{input,target}``: ``shots`` pairs train, the rest is the test set;
    * in both, optionally ``root/queries/``: inputs without target, for ``predict``;
    * ``root/input`` or ``root/queries`` alone: nothing but ``predict``.

    Args:
        root: the folder, or ``sample:<name>`` for data that ship with the package.
        val_fraction: share of the training pairs kept for validation where there is no ``val`` folder, in [0, 1).
        background: what shows through transparent input pixels.
        **kwargs: see ``FewShotDataModule``.

    Raises:
        ValueError: if ``val_fraction`` is out of range.
    """

    input_folder: ClassVar[str] = "input"
    target_folder: ClassVar[str] = "target"

    def __init__(self, root: str, val_fraction: float = 0.0, background: Background = "black", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must be in [0, 1), got {val_fraction}")
        self.root = root
        self.val_fraction = val_fraction
        self.background = background
        self.task_name = safe_key(root.removeprefix(SAMPLE) if root.startswith(SAMPLE) else Path(root).resolve().name)

    @abstractmethod
    def make_reader(self) -> TargetReader:
        """Reads a target file; raises ValueError naming the file if it breaks a rule."""

    def load(self) -> Splits:
        """List and match the files of all layouts.

        Raises:
            DataError: if the folder has none of the layouts.
        """
        root = resolve(self.root)
        flat, split = (root / self.input_folder).is_dir(), any((root / part).is_dir() for part in PARTS)
        predict, problems = self._unlabelled(root / "queries") if (root / "queries").is_dir() else ([], [])
        if flat and split:
            raise DataError([f"{root}: has both {self.input_folder}/ and one of {', '.join(PARTS)}; keep one layout"])
        if split:
            return self._load_split(root, predict, problems)
        if flat and (root / self.target_folder).is_dir():
            pool, wrong = self._labelled(root)
            return self._with_validation(Splits(pool, predict=predict, hold_out=True, problems=[*problems, *wrong]))
        if flat:
            inputs, wrong = self._unlabelled(root / self.input_folder, "input-" if predict else "")
            return Splits([], predict=[*predict, *inputs], problems=[*problems, *wrong])
        if predict:
            return Splits([], predict=predict, problems=problems)
        names = f"{{{self.input_folder},{self.target_folder}}}"
        raise DataError([f"{root}: no data; expected {root}/{names} or {root}/train/{names}, or {root}/queries"])

    def _load_split(self, root: Path, predict: list[Example], problems: list[str]) -> Splits:
        labelled: dict[str, list[Example]] = {}
        for name in PARTS:
            present = (root / name).is_dir()
            labelled[name], wrong = self._labelled(root / name, f"{name}-") if present else ([], [])
            problems = [*problems, *wrong]
        splits = Splits(labelled["train"], labelled["val"], labelled["test"], predict, problems=problems)
        return self._with_validation(splits)

    def _with_validation(self, splits: Splits) -> Splits:
        """Move ``val_fraction`` of the pool to validation."""
        if not self.val_fraction:
            return splits
        if splits.validate:
            raise ValueError(f"val_fraction must be 0 where there is a val folder, got {self.val_fraction}")
        count = max(1, round(self.val_fraction * len(splits.pool)))
        chosen = set(np.random.default_rng([self.support_seed, 1]).permutation(len(splits.pool))[:count].tolist())
        kept = [example for i, example in enumerate(splits.pool) if i not in chosen]
        moved = [example for i, example in enumerate(splits.pool) if i in chosen]
        return Splits(kept, moved, splits.test, splits.predict, splits.hold_out, splits.problems)

    def _labelled(self, folder: Path, prefix: str = "") -> tuple[list[Example], list[str]]:
        matched, problems = match_by_name(folder / self.input_folder, folder / self.target_folder)
        return [self._example(prefix, file, target) for file, target in matched], problems

    def _unlabelled(self, folder: Path, prefix: str = "") -> tuple[list[Example], list[str]]:
        pictures, problems = list_pictures(folder)
        twins = [group for group in _by_stem(pictures).values() if len(group) > 1]
        problems += [f"{group[0]}: same name as {group[1].name}; rename one" for group in twins]
        return [self._example(prefix, file, None) for file in pictures], problems or (
            [] if pictures else [f"{folder}: no pictures"]
        )

    def _example(self, prefix: str, file: Path, target: Path | None) -> Example:
        key = safe_key(prefix + file.stem)
        read = functools.partial(read_example, key, file, target, self.make_reader(), self.background, self.task_name)
        return Example(key, str(file), read)
