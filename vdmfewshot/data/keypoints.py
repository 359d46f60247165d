"""Pose from the exports of labelling tools: every person of a picture in a crop of its own."""

from __future__ import annotations

import difflib
import functools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vdmfewshot.data.examples import DataError, Example, LeftOut, Splits, safe_key
from vdmfewshot.data.formats.detect import Format
from vdmfewshot.data.formats.pose_readers import read_skeletons
from vdmfewshot.data.formats.skeletons import Posed, PoseExport, Skeleton
from vdmfewshot.data.formats.splits import unique_keys
from vdmfewshot.data.orientation import Exif
from vdmfewshot.data.persons import OUTSIDE, PersonDataModule, checked_person, read_person
from vdmfewshot.data.pictures import read_size
from vdmfewshot.data.sources import resolve
from vdmfewshot.data.survey import summarize


class KeypointsDataModule(PersonDataModule):
    """Persons with joints of a folder that a labelling tool has exported.

    Boxes are those of the export, or else the smallest around the joints. A person that is broken is left out, counted
    and named, or, if ``strict``, refused; joints beyond the picture count as not labelled. Without a test part,
    ``shots`` persons train and the rest is the test set. COCO AP is over pictures: several people of one are scored
    together.

    Args:
        root: the folder.
        format: of the export: ``coco``, ``yolo``, ``labelme``, ``cvat`` or ``labelstudio``; found out if ``auto``.
        category: label of the people; needed if there are several.
        **kwargs: see ``PersonDataModule``.
    """

    def __init__(
        self,
        root: str,
        format: Format = "auto",
        category: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.format: Format = format
        self.category = category
        self.task_name = safe_key(f"{Path(root).resolve().name}-pose")

    def load(self) -> Splits:
        """List the people.

        Raises:
            DataError: if there are none, or it must be said which are meant.
        """
        root = resolve(self.root)
        export = read_skeletons(root, self.format)
        label = choose_label(export, self.category, root)
        self._joints = export.joints()
        self.swaps = export.swaps if self.swaps is None else self.swaps
        left_out, by_part = list(export.left_out), dict[str, list[Example]]()
        base = Path(os.path.commonpath([p.file.parent for p in export.pictures])) if export.pictures else root
        numbers: Counter[str] = Counter()
        names = unique_keys([picture.file for picture in export.pictures], base)
        for picture, name in zip(export.pictures, names, strict=True):
            people = [person for person in picture.people if person.label == label]
            keys = [f"{name}-{numbers[name] + i}" for i in range(len(people))]
            numbers[name] += len(people)
            found = self._examples(picture, people, keys, left_out)
            by_part.setdefault(picture.part, []).extend(found)
        pool = [*by_part.get("", []), *by_part.get("train", [])]
        if not pool and not by_part.get("test") and not export.problems:
            raise DataError([f"{root}: no person can be used: left out {summarize(left_out)}"])
        validate, test = by_part.get("val", []), by_part.get("test", [])
        return Splits(pool, validate, test, hold_out=not test, problems=export.problems, left_out=left_out)

    def _examples(
        self, picture: Posed, people: Sequence[Skeleton], keys: Sequence[str], left_out: list[LeftOut]
    ) -> list[Example]:
        examples = []
        for key, skeleton in zip(keys, people, strict=True):
            try:
                size = read_size(picture.file)
                points = skeleton.points(self._joints)
                labelled = int((points[:, 2] > 0).sum())
                person = checked_person(points, skeleton.around(), picture.size or size, picture.size, self.padding)
            except ValueError as error:
                left_out.append(LeftOut(skeleton.place, str(error)))
                continue
            left_out += [LeftOut(skeleton.place, OUTSIDE)] * (labelled - int((person.points[:, 2] > 0).sum()))
            meta: dict[str, Any] = {"task": self.task_name, "source": picture.file.name, "image": str(picture.file)}
            meta["area"] = person.bbox[2] * person.bbox[3]
            # Without a stated size, joints are shares of the picture as viewers show it.
            exif: Exif = self.exif if picture.size else "upright"
            read = functools.partial(read_person, key, picture.file, person, exif, meta)
            examples.append(Example(key, skeleton.place, read))
        return examples


def choose_label(export: PoseExport, wanted: str | None, root: Path) -> str:
    """The label of the people to use.

    Raises:
        DataError: if it is unknown, or there are several and none is named.
    """
    known = sorted({person.label for picture in export.pictures for person in picture.people})
    if wanted is None and len(known) > 1:
        raise DataError([f"{root}: joints of {', '.join(known[:50])}: choose with --data.category '{known[0]}'"])
    if wanted is not None and wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError([f"{root}: no joints of {wanted!r}; there are {', '.join(known[:50]) or 'none'}{hint}"])
    return wanted or (known[0] if known else "")
