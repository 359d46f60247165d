"""Any folder of input and target pictures: what a user with five labelled pictures runs."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.image import ImageCodec
from vdmfewshot.codecs.labelmap import LabelMapCodec
from vdmfewshot.codecs.mask import MaskCodec
from vdmfewshot.data.augment import Augmenter, Jitter
from vdmfewshot.data.classes import ClassTable, find_table, make_table
from vdmfewshot.data.examples import DataError, Example, LeftOut, Splits
from vdmfewshot.data.folders import FolderDataModule
from vdmfewshot.data.formats.detect import Format, find_format, read_export, unknown_labels
from vdmfewshot.data.formats.hf import is_hub_name, unpack
from vdmfewshot.data.formats.splits import choose_classes, export_splits
from vdmfewshot.data.layouts import find_layout
from vdmfewshot.data.masks import Foreground, are_coloured
from vdmfewshot.data.memory import AnyPicture, as_rows, read_pair, readable
from vdmfewshot.data.names import match_by_name
from vdmfewshot.data.orientation import Exif
from vdmfewshot.data.pictures import Background, Source
from vdmfewshot.data.readers import ImageReader, LabelReader, MaskReader, TargetReader
from vdmfewshot.data.sources import SAMPLE, resolve
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.image import ImageMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric

TargetName = Literal["image", "mask", "labels"]
#: what to do about more classes than one clip holds
PASSES = " (for more classes, passes over several clips: --data ClassPassesDataModule)"


class PairsDataModule(FolderDataModule):
    """Pairs of pictures in ``input`` and ``target`` folders, matched by file name (layouts: ``FolderDataModule``).

    Target pictures may differ in size from their inputs if the aspect ratio agrees; masks and label maps must have
    exactly the input's size. With ``variants`` > 1, input and target are mirrored, scaled, turned and shifted
    together: right for tasks that look the same anywhere in the picture (masks, edges, colours), wrong for tasks about
    place and direction (flips, rotations, zooms).

    Args:
        root: folder with ``input`` and ``target``, or with ``train/input`` and ``train/target``; with ``format="hf"``
            also ``owner/name`` of a data set on the Hugging Face hub.
        target: what the target files are: pictures, masks of one kind of object, or label maps.
        num_classes: number of classes of label maps, background included, 2-8 (more: ``ClassPassesDataModule``); only
            with ``target="labels"``, where it follows from ``classes`` or a table beside the masks if there is one.
        val_fraction: share of the training pairs kept for validation where there is no ``val`` folder, in [0, 1).
        background: what shows through transparent pixels.
        pattern: how names of targets follow from those of inputs, ``"{stem}_mask.png"``.
        exif: how labels of photos with an EXIF orientation were drawn, ``upright`` or ``stored``.
        classes: what values or colours of label maps mean: ``{ground: 7, car: 26}`` or ``{ground: [0, 0, 0], car:
            [128, 0, 0]}``, the background first; ``ignore`` names pixels that neither train nor count. A table beside
            the masks (``class_dict.csv``, ``labelmap.txt``, ``_classes.csv``) is read if not given.
        format: how labels are stored: ``pairs`` of pictures, or exports of labelling tools, whose polygons, masks and
            boxes are drawn (filled boxes only where nothing has an outline); found out if ``auto``.
        category: with an export or a table of classes, the class that masks show, or several; the classes of label
            maps. All if not given.
        foreground: which values of masks are the object: ``white`` (from the middle up), ``nonzero`` (all but black:
            numbered objects), or whichever of them the values of all masks leave no doubt about.
        **kwargs: see ``FewShotDataModule``.

    Raises:
        ValueError: if ``num_classes`` or ``classes`` do not fit ``target``.
    """

    #: most classes of label maps, background included
    most_classes: ClassVar[int] = 8

    def __init__(
        self,
        root: str,
        target: TargetName = "image",
        num_classes: int | None = None,
        val_fraction: float = 0.0,
        background: Background = "black",
        pattern: str | None = None,
        exif: Exif = "auto",
        classes: dict[str, int | list[int]] | None = None,
        foreground: Foreground = "auto",
        format: Format = "auto",
        category: str | list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, val_fraction, background, pattern, exif, **kwargs)
        if target not in get_args(TargetName):
            raise ValueError(f"target must be one of {', '.join(get_args(TargetName))}, got {target!r}")
        self.table = None if classes is None else make_table(classes)
        if num_classes is not None and (target != "labels" or not 2 <= num_classes <= self.most_classes):
            rule = f"must be 2 to {self.most_classes}"
            rule = f"{rule}{self._more}" if target == "labels" else 'is needed exactly for target="labels"'
            raise ValueError(f"num_classes {rule}, got {num_classes} for {target!r}")
        if classes is not None and target == "image":
            raise ValueError('classes are for target="mask" or target="labels", got target="image"')
        self._check_classes(target, num_classes, self.table)
        self.target: TargetName = target
        self.asked_classes = num_classes
        self.num_classes = num_classes or (len(self.table.names) if self.table else 2)
        self.foreground: Foreground = foreground
        self.format: Format = format
        self.category = category
        self.class_names: tuple[str, ...] = self.table.names if self.table else ()
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None
        self._held: tuple[list[tuple[AnyPicture, AnyPicture]], list[AnyPicture]] | None = None

    @classmethod
    def from_pairs(
        cls, pairs: Iterable[Any], target: TargetName = "image", queries: Iterable[AnyPicture] = (), **kwargs: Any
    ) -> Self:
        """The same for pairs that a program already holds, instead of a folder.

        Args:
            pairs: (input, target) each, or rows of a table with these two columns, such as those of a Hugging Face
                dataset. Pictures are arrays, PIL pictures, tensors or paths, see ``vdmfewshot.data.memory.as_picture``.
                ``shots`` of them train, the others are scored.
            target: what the targets are, as for folders.
            queries: inputs without target, for ``predict``.
            **kwargs: the other arguments of the class, ``root`` excepted.

        Raises:
            ValueError: if an item is not a pair. What is wrong with pictures is said by ``setup``, all at once.
            TypeError: for an argument that there is not, with those that there are.
        """
        _check_names(cls, kwargs)
        data = cls("pairs", target, **kwargs)
        data._held = as_rows(pairs), list(queries)
        return data

    def load(self) -> Splits:
        """List the files, the pictures of an export, or the pairs in memory.

        Raises:
            DataError: if there are none, or if it must be chosen first which classes are wanted.
        """
        if self._held is None:
            hub = self.format == "hf" and is_hub_name(self.root)
            return self._load_folder(Path(self.root) if hub else resolve(self.root))
        pairs, queries = self._held
        reader = self.make_reader(list(readable(target for _, target in pairs)), ())
        pool = [self._held_example(f"pair-{i:03d}", f"pair {i}", x, y, reader) for i, (x, y) in enumerate(pairs)]
        predict = [self._held_example(f"query-{i:03d}", f"query {i}", x, None, reader) for i, x in enumerate(queries)]
        return self._with_validation(Splits(pool, predict=predict, hold_out=True))

    def _load_folder(self, root: Path) -> Splits:
        kind, missing = self._format(root), list[LeftOut]()
        if kind == "hf":
            self._unpacked = tempfile.TemporaryDirectory(prefix="vdmfewshot-")
            root = unpack(root, Path(self._unpacked.name), missing)
            kind = find_format(root) or "pairs"
        if kind == "pairs":
            return self._with_strangers(root, missing)
        if self.target == "image":
            raise DataError([f"{root}: labels in the format {kind!r} are no pictures: --data.target mask, or labels"])
        export = read_export(root, kind).without_loose_boxes()
        export.left_out += missing
        if export.problems and not export.pictures:
            raise DataError(export.problems)
        most = self.most_classes - 1
        names = choose_classes(export, self.category, self.target == "mask", str(root), most)
        shown = names if self.target == "labels" else [" or ".join(names)]
        self.class_names = ("background", *shown)
        self.num_classes = len(self.class_names)
        return self._with_validation(export_splits(export, names, self.target == "mask", self.exif, self.task_name))

    def _with_strangers(self, root: Path, left_out: list[LeftOut]) -> Splits:
        """Pairs of a folder; where it has none with a target, files that may be meant as labels are named."""
        try:
            splits = self.load_pairs(root)
        except DataError as error:
            strangers = [f"{item.source}: {item.reason}" for item in unknown_labels(root)]
            raise DataError([*error.problems, *strangers]) from error
        labelled = splits.pool or splits.validate or splits.test
        strange = [] if labelled else unknown_labels(root)
        problems = [*splits.problems, *(f"{item.source}: {item.reason}" for item in strange if splits.problems)]
        return replace(splits, left_out=[*left_out, *strange], problems=problems)

    def _format(self, root: Path) -> Format:
        """What the user says, or what the folder looks like; pairs where it is nothing else."""
        if self.format != "auto" or self.root.startswith(SAMPLE):
            return "pairs" if self.format == "auto" else self.format
        try:
            layout = find_layout(root, (self.input_folder, self.target_folder), self.pattern)
        except DataError:
            return find_format(root) or "pairs"
        pairs = any(match_by_name(*folders, self.pattern)[0] for folders in layout.labelled.values())
        return "pairs" if pairs else find_format(root) or "pairs"

    def _held_example(
        self, key: str, source: str, image: AnyPicture, target: AnyPicture | None, reader: TargetReader
    ) -> Example:
        read = functools.partial(read_pair, key, image, target, reader, self.background, self.task_name)
        return Example(key, source, read)

    def make_reader(self, targets: Iterable[Source], folders: Iterable[Path]) -> TargetReader:
        """Reader of this kind of target.

        Raises:
            ValueError: if label maps come without a number of classes and without a table of them.
        """
        if self.target == "image":
            return ImageReader(self.background, self.exif)
        table = self.table
        if table is None and (self.target == "labels" or are_coloured(targets)):
            table = find_table(folders)
        if table is not None and self.category is not None:
            table = table.only([self.category] if isinstance(self.category, str) else self.category)
        if self.target == "mask" and (table is None or (self.table is None and len(table.names) != 2)):
            return MaskReader(self.foreground, exif=self.exif).for_files(targets)
        self._check_classes(self.target, self.asked_classes, table)
        if table:
            self.num_classes, self.class_names = len(table.names), table.names
        if table is None and self.asked_classes is None and targets:
            raise ValueError(
                'num_classes is needed for target="labels": --data.num_classes N with background, or say what values '
                "mean with --data.classes '{background: 0, thing: 1}'"
            )
        return LabelReader(self.num_classes, table, self.target == "mask", self.exif)

    def make_codec(self) -> Codec[Any]:
        """Pictures as they are, white-on-black masks, or one colour a class."""
        if self.target == "image":
            return ImageCodec()
        return MaskCodec() if self.target == "mask" else LabelMapCodec(self.num_classes)

    def make_metric(self) -> TaskMetric:
        """PSNR and SSIM for pictures, IoU for masks and label maps."""
        return ImageMetric() if self.target == "image" else SegmentationMetric(self.num_classes)

    def make_augmenter(self) -> Augmenter:
        """Input and target moved together."""
        return Jitter(self.seed)

    @property
    def _more(self) -> str:
        """What to do about more classes than one clip holds."""
        return PASSES if self.most_classes == PairsDataModule.most_classes else ""

    def _check_classes(self, target: TargetName, num_classes: int | None, table: ClassTable | None) -> None:
        """A table must fit the kind of target and the number that was asked for."""
        if table is None:
            return
        count = len(table.names)
        if target == "mask" and count != 2:
            raise ValueError(f'{table.source} names {count} classes; a mask has two: use target="labels"')
        if not 2 <= count <= self.most_classes:
            rule = f"one clip holds 2 to {self.most_classes}, background included{self._more}"
            raise ValueError(f"{table.source} names {count} classes; {rule}")
        if num_classes is not None and num_classes != count:
            raise ValueError(
                f"num_classes is {num_classes}, but {table.source} names {count}: {', '.join(table.names)}"
            )


def _check_names(kind: type, given: Mapping[str, Any]) -> None:
    """Arguments are passed on from class to class; the last one would only name itself."""
    known = {name for base in kind.__mro__ if base is not object for name in signature(base).parameters}
    known -= {"root", "target", "args", "kwargs"}
    if unknown := sorted(given.keys() - known):
        raise TypeError(f"pairs take no {unknown[0]!r}, but {', '.join(sorted(known))}")
