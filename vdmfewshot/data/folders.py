"""Folders of inputs and targets, as data modules."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vdmfewshot.clips.clip import Pair
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import Example, Splits, safe_key
from vdmfewshot.data.layouts import VOC_MASKS, find_layout
from vdmfewshot.data.names import NamePattern, list_pictures, match_by_name, name_of
from vdmfewshot.data.orientation import Exif
from vdmfewshot.data.pictures import Background, Source, read_orientation, read_picture
from vdmfewshot.data.readers import TargetReader
from vdmfewshot.data.sources import SAMPLE, resolve

#: prefix of keys, input file, target file
Files = tuple[str, str, Path, Path | None]


def read_example(
    name: str, file: Path, target: Path | None, reader: TargetReader, background: Background, task: str
) -> Pair:
    """Read an input picture and, if there is one, its target; answers are named like the input."""
    image = read_picture(file, background)
    label = None if target is None else reader(target, image, read_orientation(file))
    return Pair(safe_key(name), image, label, {"task": task, "source": str(file), "name": name})


class FolderDataModule(FewShotDataModule):
    """Inputs and targets in two folders, matched by file name.

    Layouts, with the folder names of the subclass or other usual ones (``input``, ``images``, ``img``; ``target``,
    ``masks``, ``labels``, ``gt``); sub-folders are searched:

    * any of ``root/train/{input,target}``, ``root/val/{input,target}`` and ``root/test/{input,target}``, or
      ``root/input/train`` and ``root/target/train`` and so on;
    * ``root/{input,target}``: ``shots`` pairs train, the rest is the test set;
    * with a ``pattern``, inputs and targets beside each other in ``root``;
    * in all, optionally ``root/queries/``: inputs without target, for ``predict``;
    * ``root/input`` or ``root/queries`` alone: nothing but ``predict``.

    Args:
        root: the folder, or ``sample:<name>`` for data that ship with the package.
        val_fraction: share of the training pairs kept for validation where there is no ``val`` folder, in [0, 1).
        background: what shows through transparent input pixels.
        pattern: how names of targets follow from those of inputs, ``"{stem}_mask.png"`` or
            ``"{stem}_image.jpg -> {stem}_mask.png"``; the same name if not given.
        exif: how labels of photos with an EXIF orientation were drawn: on the ``upright`` photo, as viewers show it, or
            on the ``stored`` one; ``auto`` goes by the sizes, and asks where both fit.
        **kwargs: see ``FewShotDataModule``.

    Raises:
        ValueError: if ``val_fraction`` is out of range or ``pattern`` holds no ``{stem}``.
    """

    input_folder: ClassVar[str] = "input"
    target_folder: ClassVar[str] = "target"

    def __init__(
        self,
        root: str,
        val_fraction: float = 0.0,
        background: Background = "black",
        pattern: str | None = None,
        exif: Exif = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must be in [0, 1), got {val_fraction}")
        self.root = root
        self.val_fraction = val_fraction
        self.background = background
        self.pattern = NamePattern.parse(pattern)
        self.exif: Exif = exif
        self.task_name = safe_key(root.removeprefix(SAMPLE) if root.startswith(SAMPLE) else Path(root).resolve().name)

    @abstractmethod
    def make_reader(self, targets: Iterable[Source], folders: Iterable[Path]) -> TargetReader:
        """Reads a target file; raises ValueError naming the file if it breaks a rule.

        Args:
            targets: all target files of the data set.
            folders: where a table of classes may lie.
        """

    def load(self) -> Splits:
        """List and match the files of all layouts.

        Raises:
            DataError: if the folder has none of the layouts.
        """
        return self.load_pairs(resolve(self.root))

    def load_pairs(self, root: Path) -> Splits:
        """List and match the files of a folder.

        Raises:
            DataError: if it has none of the layouts.
        """
        layout = find_layout(root, (self.input_folder, self.target_folder), self.pattern)
        files: dict[str, list[Files]] = {"predict": []}
        problems: list[str] = []
        for part, (inputs, targets) in layout.labelled.items():
            matched, wrong = match_by_name(inputs, targets, self.pattern, some=targets.name == VOC_MASKS)
            prefix = f"{part}-" if part else ""
            files[part or "flat"] = [(prefix, name_of(file, inputs), file, target) for file, target in matched]
            problems += wrong
        for prefix, folder in layout.unlabelled.items():
            found, wrong = self._unlabelled(folder, prefix)
            files["predict"] += found
            problems += wrong
        places = dict.fromkeys([root, *(p for _, t in layout.labelled.values() for p in (t, t.parent))])
        examples = self._examples(files, places)
        flat = "flat" in files
        pool = examples.get("flat", examples.get("train", []))
        splits = Splits(
            pool, examples.get("val", []), examples.get("test", []), examples["predict"], flat, problems=problems
        )
        return self._with_validation(splits) if pool else splits

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
        return replace(splits, pool=kept, validate=moved)

    def _unlabelled(self, folder: Path, prefix: str = "") -> tuple[list[Files], list[str]]:
        pictures, problems = list_pictures(folder)
        by_name: dict[str, list[Path]] = {}
        for file in pictures:
            by_name.setdefault(name_of(file, folder), []).append(file)
        twins = [group for group in by_name.values() if len(group) > 1]
        problems += [f"{group[0]}: same name as {group[1].name}; rename one" for group in twins]
        files: list[Files] = [(prefix, name_of(file, folder), file, None) for file in pictures]
        return files, problems or ([] if pictures else [f"{folder}: no pictures"])

    def _examples(self, files: dict[str, list[Files]], folders: Iterable[Path]) -> dict[str, list[Example]]:
        targets = [target for group in files.values() for _, _, _, target in group if target is not None]
        reader = self.make_reader(targets, folders)
        return {part: [self._example(reader, *entry) for entry in group] for part, group in files.items()}

    def _example(self, reader: TargetReader, prefix: str, name: str, file: Path, target: Path | None) -> Example:
        read = functools.partial(read_example, prefix + name, file, target, reader, self.background, self.task_name)
        return Example(safe_key(prefix + name), str(file), read)
