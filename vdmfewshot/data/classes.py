"""Tables of classes: what a pixel value or a colour of a label map stands for, given or found beside the masks."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.codecs.labelmap import IGNORE
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.files import read_text
from vdmfewshot.data.masks import Raw, colour_remedy, pack, unpack

#: name → pixel value, or [r, g, b]
ClassSpec = Mapping[str, int | list[int]]
#: classes of this name (any case) are pixels that neither train nor count
IGNORED_NAMES = {"ignore", "void", "unlabelled", "unlabeled"}
#: files beside masks that say what values mean: CamVid and Roboflow, CVAT and datumaro, Roboflow's semantic masks
TABLES = ("class_dict.csv", "labelmap.txt", "_classes.csv", "label_colors.txt")


@dataclass(frozen=True)
class ClassTable:
    """Names of classes 0, 1, … and the pixel values or colours that stand for them.

    Attributes:
        names: of the classes, in order; the first one is the background and drawn black.
        ids: pixel value → class.
        colours: 0xRRGGBB → class.
        source: where the table comes from, for messages.
    """

    names: tuple[str, ...]
    ids: Mapping[int, int]
    colours: Mapping[int, int]
    source: str

    def only(self, wanted: Sequence[str]) -> ClassTable:
        """The table with these classes and everything else as background.

        Raises:
            ValueError: if one of them is not in the table.
        """
        unknown = [name for name in wanted if name not in self.names]
        if unknown:
            raise ValueError(f"category {unknown[0]!r} is not in {self.source}; there are {', '.join(self.names)}")
        index = {self.names.index(name): i for i, name in enumerate(wanted, 1)} | {IGNORE: IGNORE}
        ids, colours = ({k: index.get(v, 0) for k, v in table.items()} for table in (self.ids, self.colours))
        return ClassTable(("background", *wanted), ids, colours, self.source)

    def apply(self, raw: Raw) -> NDArray[np.uint8]:
        """(h, w) uint8 classes, 255 to ignore.

        Raises:
            ValueError: naming the values or colours that are not in the table.
        """
        by_colour = bool(self.colours) and (raw.kind == "colour" or (raw.kind == "palette" and not self.ids))
        values = raw.colours() if by_colour or not self.ids else raw.values
        table = self.colours if by_colour or not self.ids else self.ids
        if raw.kind == "colour" and not by_colour:
            raise ValueError(f"has colours, but {self.source} lists none; {colour_remedy([raw])}")
        if raw.kind == "grey" and not self.ids and not set(np.unique(values).tolist()) <= set(table):
            values, table = raw.values, {k: k for k in range(len(self.names))} | {IGNORE: IGNORE}
        found, inverse = np.unique(values, return_inverse=True)
        unknown = [v for v in found.tolist() if v not in table and not (v == IGNORE and table is self.ids)]
        if unknown:
            shown = ", ".join(str(unpack(v)) if table is self.colours else str(v) for v in unknown[:8])
            raise ValueError(f"{shown} not in the classes of {self.source}: {', '.join(self.names)}")
        classes = np.array([table.get(v, IGNORE) for v in found.tolist()], dtype=np.uint8)
        return classes[inverse].reshape(values.shape)


def make_table(spec: ClassSpec, source: str = "--data.classes") -> ClassTable:
    """Check a table of classes.

    Raises:
        ValueError: naming rule and value if an entry is neither a whole number nor three of 0-255, or two are alike.
    """
    names = [name for name in spec if name.lower() not in IGNORED_NAMES]
    ids: dict[int, int] = {}
    colours: dict[int, int] = {}
    for name, value in spec.items():
        index = names.index(name) if name in names else IGNORE
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            target, key = ids, value
        elif (
            isinstance(value, Sequence) and len(value) == 3 and all(isinstance(v, int) and 0 <= v < 256 for v in value)
        ):
            target, key = colours, pack(value)
        else:
            raise ValueError(f"{source}: {name} must be a pixel value or a colour [r, g, b] of 0-255, got {value!r}")
        if key in target:
            raise ValueError(f"{source}: {name} has the value of another class, {value}")
        target[key] = index
    if len(names) < 2:
        raise ValueError(f"{source}: needs at least two classes, background included, got {', '.join(names) or 'none'}")
    return ClassTable(tuple(names), ids, colours, source)


def find_table(folders: Iterable[Path]) -> ClassTable | None:
    """The table of classes that lies in one of these folders, if any.

    Raises:
        DataError: if there is one that cannot be read.
    """
    for folder in folders:
        for name in TABLES:
            if (folder / name).is_file():
                return _read_table(folder / name)
    return None


def _read_table(path: Path) -> ClassTable:
    try:
        text = read_text(path)
        rows = _csv_rows(text) if path.suffix == ".csv" else _text_rows(text)
        spec: dict[str, int | list[int]] = {name: values[0] if len(values) == 1 else values for name, values in rows}
        table = make_table(spec, path.name)
        if path.suffix == ".txt" and not table.colours:  # VOC's own colours are meant
            return replace(table, colours={voc_colour(value): index for value, index in table.ids.items()})
        return table
    except (OSError, ValueError, IndexError) as error:
        raise DataError([f"{path}: not a table of classes (name,r,g,b a line): {error}"]) from error


def voc_colour(index: int) -> int:
    """0xRRGGBB of a class of Pascal VOC: bits 0, 3, 6 of its number are red from the highest bit down, and so on."""
    channels = [sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)]
    return pack(channels)


def _csv_rows(text: str) -> list[tuple[str, list[int]]]:
    """``name,r,g,b`` or ``Pixel Value, Class``, with one line of headings."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    if [cell.lower() for cell in rows[0]][:2] == ["pixel value", "class"]:
        return [(row[1], [int(row[0])]) for row in rows[1:]]
    return [(row[0], [int(cell) for cell in row[1:4]]) for row in rows[1:]]


def _text_rows(text: str) -> list[tuple[str, list[int]]]:
    """``name:r,g,b::`` (CVAT) or ``r g b name`` (CamVid); without colours, values count from 0. ``#`` for remarks."""
    rows = []
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        numbers = re.fullmatch(r"(\d+)\s+(\d+)\s+(\d+)\s+(.+)", line)
        if numbers is not None:
            rows.append((numbers[4], [int(numbers[i]) for i in (1, 2, 3)]))
            continue
        name, _, rest = line.partition(":")
        colour = rest.partition(":")[0]
        rows.append((name, [int(v) for v in colour.split(",")] if colour else [len(rows)]))
    return rows
