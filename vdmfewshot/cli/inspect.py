"""``vdmfewshot inspect``: what was understood of a data set, in words and as a sheet of pictures, before training."""

from __future__ import annotations

import argparse
import logging
import textwrap
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule
from PIL import Image
from rich.console import Console

from vdmfewshot.callbacks.draw import artist_for, class_colors, draw_image
from vdmfewshot.callbacks.evaluation import decoders, drawings, joiner
from vdmfewshot.callbacks.panel import Row, panel
from vdmfewshot.cli.arguments import split
from vdmfewshot.cli.command import FewShotCLI, make_cli
from vdmfewshot.cli.errors import Mistake
from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.labelmap import IGNORE
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.passes import ClassPassesDataModule
from vdmfewshot.data.stack import StackedDataModule
from vdmfewshot.data.survey import Survey, by_reason, log
from vdmfewshot.storage.atomic import replacing

DESCRIPTION = """Reads a data set, trains nothing, and shows what was understood.

vdmfewshot inspect --data PairsDataModule --data.root my_task --data.target mask
vdmfewshot inspect -c experiments/nuclei.yaml

It prints counts, sizes, classes and what was left out, and draws a sheet: input, target, target as the model is to draw
it, and what is read back from that drawing. All other options are those of `vdmfewshot adapt`."""
HEADINGS = ("input", "target", "drawn target", "decoded")
#: what pairs are for, in words
PARTS = {"support": "training", "scored": "scored", "unscored": "other"}
#: classes listed in words
LISTED = 12
#: width of a terminal that everybody has
COLUMNS = 80


class InspectingCLI(FewShotCLI):
    """A command line of ``adapt``, of which only the data are made."""

    def instantiate_classes(self) -> None:
        """Make the data module and nothing else."""
        self.datamodule: Any = self._parser("adapt").instantiate_classes(Namespace(data=self._sub.data)).data

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing."""


def inspect(args: Sequence[str]) -> list[Path]:
    """Run the verb.

    Args:
        args: command line after ``inspect``.

    Returns:
        The sheets that were drawn, one a task.

    Raises:
        ValueError: naming what is wrong with the data.
    """
    parser = argparse.ArgumentParser(
        "vdmfewshot inspect", description=DESCRIPTION, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, default=Path("inspect"), help="folder of the sheets (default: inspect)")
    parser.add_argument("--rows", type=int, default=12, help="most pairs that are drawn (default: 12)")
    options, rest = parser.parse_known_args(list(args))
    if options.rows < 1:
        raise ValueError(f"rows must be at least 1, got {options.rows}")
    for stray in (argument.value for argument in split(rest) if not argument.name):
        example = f"vdmfewshot inspect --data PairsDataModule --data.root {stray}"
        raise Mistake(f"{stray!r} is not an option; name the data, for example: {example}", "vdmfewshot inspect")
    data, console = make_cli(["adapt", *rest], InspectingCLI).datamodule, Console()
    level = log.level
    log.setLevel(logging.WARNING)  # what it would say is in the description
    try:
        data.setup("fit")
    finally:
        log.setLevel(level)
    return [_inspect(task, options.out, options.rows, console) for task in _tasks(data)]


def _tasks(data: LightningDataModule) -> list[FewShotDataModule]:
    if isinstance(data, ClassPassesDataModule):
        return [data.merged]
    found = list(data.tasks.values()) if isinstance(data, StackedDataModule) else [data]
    return [task for task in found if isinstance(task, FewShotDataModule)]


def _inspect(data: FewShotDataModule, folder: Path, rows: int, console: Console) -> Path:
    for line in folded(describe(data)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    file = folder / f"{data.task_name}.png"
    with replacing(file) as draft:
        Image.fromarray(draw_sheet(data, rows)).save(draft, format="PNG")
    console.print(f"  pictures: {file}", highlight=False, markup=False, soft_wrap=True)
    return file


def describe(data: FewShotDataModule) -> list[str]:
    """What was understood, one line for each thing."""
    counts = {"training": len(data.support)}
    counts |= {stage: len(data.queries(stage)) for stage in ("validate", "test", "predict")}
    survey: Survey = data.survey
    lines = [f"{data.task_name}", "  pairs: " + ", ".join(f"{count} {name}" for name, count in counts.items())]
    lines.append(f"  pictures: {sizes_of(survey)}; drawn on {data.width} x {data.height}")
    lines += [f"  classes: {text}" for text in _classes(survey, getattr(data, "class_names", ()))]
    if survey.left_out:
        lines.append(f"  left out: {len(survey.left_out)}, the rest is used (--data.strict true refuses instead)")
    lines += [f"    - {reason}" for reason in by_reason(survey.left_out)]
    return lines + [f"  note: {note}" for note in survey.doubts()]


def folded(lines: Sequence[str]) -> Iterator[str]:
    """Lines of at most ``COLUMNS`` letters; what goes on is indented. Paths stay whole."""
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        yield from textwrap.wrap(
            line, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [""]


def sizes_of(survey: Survey) -> str:
    """Sizes of the inputs, commonest first."""
    common = [f"{count} of {w} x {h}" for (h, w), count in survey.sizes.most_common(4)]
    more = len(survey.sizes) - 4
    return ", ".join(common) + (f" and {more} sizes more" if more > 0 else "")


def _classes(survey: Survey, names: Sequence[str]) -> Iterator[str]:
    """Which classes the masks and label maps show, in how many pictures of each part."""
    values = sorted({value for counts in survey.classes.values() for value in counts})
    shown = []
    for value in values[:LISTED]:
        name = "ignored" if value == IGNORE else names[value] if value < len(names) else ""
        counts = [f"{c[value]} {PARTS[part]}" for part, c in survey.classes.items() if c[value]]
        shown.append(f"{value}{f' {name}' * bool(name)} (in {', '.join(counts)})")
    if shown:
        yield ", ".join(shown) + (f" and {len(values) - LISTED} more" if len(values) > LISTED else "")


def draw_sheet(data: FewShotDataModule, rows: int) -> Any:
    """(H, W, 3) uint8: a row for each of the first pairs, training pairs first."""
    pairs = [*data.support[:rows], *(data.queries("test")[i] for i in range(min(rows, len(data.queries("test")))))]
    labelled = [pair for pair in pairs if pair.target is not None][:rows]
    trained = {pair.key for pair in data.support}
    drawn = [_row(data, pair, "training" if pair.key in trained else "test") for pair in labelled]
    return panel(HEADINGS, drawn, class_colors(data.make_metric(), getattr(data, "class_names", ())))


def _row(data: FewShotDataModule, pair: Pair, part: str) -> Row:
    artist = artist_for(data.make_metric())
    frames = drawings(data, pair)
    read = decoders(data, len(frames), len(frames))
    (decoded,) = joiner(data)([reader(frame, pair) for reader, frame in zip(read, frames, strict=True)])
    pictures = [artist.draw(label, pair.image) if artist else None for label in (pair.target, decoded.label)]
    return Row(f"{part}: {pair.key}", [draw_image(pair.image), pictures[0], np.hstack(frames), pictures[1]])
