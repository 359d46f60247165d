"""The table as Markdown, CSV and JSON, with sentences that say where pretraining helps and where it does not."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from vdmfewshot.callbacks.references import CEILING
from vdmfewshot.data.evidence import ARC, Task
from vdmfewshot.metrics.records import to_json, write_atomically
from vdmfewshot.storage.documents import parse_json
from vdmfewshot.studies.evidence.settings import METHODS, Settings
from vdmfewshot.studies.evidence.summary import Entry, Summary

TABLE = "table.csv"
#: largest n at which pretraining is asked to help
FEW = 10
CONTROLS = ("random", "scratch")
TITLES = {
    "pretrained": "pretrained + LoRA",
    "random": "random weights + LoRA",
    "scratch": "all weights from scratch",
    "copy_input": "copy input",
    "mean_target": "mean target",
    CEILING: "ceiling",
}
SCORES = {
    "psnr_db": "PSNR, dB",
    "ssim": "SSIM",
    "iou_dataset": "IoU",
    "pck@0.1": "PCK@0.1",
    "cell_accuracy": "cells right",
    "pass@1": "exact",
}


def write_table(summary: Summary, folder: Path) -> None:
    """Write ``table.md``, ``table.csv`` (one line a number) and ``table.json`` (with the settings)."""
    write_atomically(folder / "table.md", markdown(summary))
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Entry)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in summary.entries)
    write_atomically(folder / TABLE, text.getvalue())
    content = parse_json(to_json({**asdict(summary), "verdict": verdict(summary)}))
    write_atomically(folder / "table.json", json.dumps(content, indent=1) + "\n")


def read_table(file: Path, tasks: Sequence[Task], settings: Settings, expected: int) -> Summary:
    """The numbers of a ``table.csv`` whose results are elsewhere or gone.

    Args:
        file: written by ``write_table``.
        tasks: that are shown.
        settings: that it was measured with.
        expected: number of results when all are done.

    Raises:
        ValueError: if the file is damaged.
    """
    rows = {task.row for task in tasks}
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            entries = [_entry(line) for line in csv.DictReader(stream) if line["row"] in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged ({error}); write it again from its results") from error
    main = {row: score for row, _, score in reversed(Summary(tuple(entries), settings, 0, 0).main)}
    done = [entry for entry in entries if entry.score == main[entry.row] and entry.method != "mean_target"]
    counted = (entry.units * (len(settings.arc_seeds) if entry.row == ARC and entry.shots else 1) for entry in done)
    return Summary(tuple(entries), settings, sum(counted), expected, bands=f"as they are in {file.name}")


def _entry(line: Mapping[str, str]) -> Entry:
    words = (line["row"], line["title"], line["score"], line["method"])
    mean, low, high = (float(line[name]) for name in ("mean", "low", "high"))
    return Entry(*words, int(line["shots"]), mean, low, high, int(line["units"]))


def markdown(summary: Summary) -> str:
    """The verdict, the table, and how it was made."""
    methods = [method for method in METHODS if any(e.method == method for e in summary.entries)]
    columns = [*methods, "copy_input", "mean_target", CEILING]
    lines = ["# Does video pretraining make few-shot visual learning work?", "", *verdict(summary), ""]
    lines += [f"| task | score | n | {' | '.join(TITLES[c] for c in columns)} |", "|" + "---|" * (3 + len(columns))]
    for row, title, score in summary.panels:
        for n in summary.shots(row, score):
            cells = [_cell(summary.find(row, score, c, 0 if c == CEILING else n)) for c in columns]
            if helps(summary, row, score, n):
                cells[0] = f"**{cells[0]}**"
            lines.append(f"| {title} | {SCORES[score]} | {n} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *legend(summary), ""])


def legend(summary: Summary) -> list[str]:
    """What the numbers mean."""
    s = summary.settings
    return [
        f"{summary.done} of {summary.expected} results. Means over support sets [95 %, {summary.bands}]; "
        "**bold** where the band of pretrained weights lies above those of both controls. Where real data hold about "
        "as many pairs as n (nuclei 30, people 32), the sets coincide and the band shows the training's own noise.",
        f"Every method: {s.steps} steps of {s.batch_size} clips, {s.size} px, {s.num_frames} frames ({s.transition}), "
        f"at most {s.queries} held-out queries, {s.sampling_steps} sampling steps, no augmentation, precision "
        f"{s.precision}. LoRA rank {s.rank} at rate {s.lr:g}; from scratch at {s.scratch_lr:g}.",
        "Labels of the real person, masks and joints alike, are those of other models, and there is one person only.",
    ]


def verdict(summary: Summary) -> list[str]:
    """Sentences: where pretraining helps, where not, and what does not beat the trivial answers."""
    helped = {
        (row, title, score): [n for n in summary.shots(row, score) if n <= FEW and helps(summary, row, score, n)]
        for row, title, score in summary.main
    }
    where = [f"{title} (n = {', '.join(map(str, shots))})" for (_, title, _), shots in helped.items() if shots]
    nowhere = [title for (_, title, _), shots in helped.items() if not shots]
    trivial = [title for row, title, score in summary.main if not beats_trivial(summary, row, score)]
    names = [TITLES[name] for name in controls(summary)]
    return [
        f"The 95 % band of pretrained + LoRA lies above that of {' and '.join(names) or 'no control'} at some "
        f"n ≤ {FEW} on {len(where)} of {len(helped)} tasks: {'; '.join(where) or 'none'}.",
        f"No such difference: {'; '.join(nowhere) or 'none'}.",
        f"Not above copy-input and mean-target at any n ≤ {FEW}: {'; '.join(trivial) or 'none'}.",
    ]


def controls(summary: Summary) -> list[str]:
    """The controls of which there is any result."""
    return [name for name in CONTROLS if any(entry.method == name for entry in summary.entries)]


def helps(summary: Summary, row: str, score: str, n: int) -> bool:
    """Whether the band of pretrained weights lies above those of all controls; never while one is still missing."""
    ours = summary.find(row, score, "pretrained", n)
    others = [summary.find(row, score, name, n) for name in controls(summary)]
    # Comparisons with the NaN of a missing band are false.
    return ours is not None and bool(others) and all(other is not None and ours.low > other.high for other in others)


def beats_trivial(summary: Summary, row: str, score: str) -> bool:
    """Whether pretrained weights are on average above both trivial answers at some small n."""
    for n in (n for n in summary.shots(row, score) if n <= FEW):
        ours = summary.find(row, score, "pretrained", n)
        others = [summary.find(row, score, name, n) for name in ("copy_input", "mean_target")]
        if ours and all(other is None or ours.mean > other.mean for other in others):
            return True
    return False


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return "-"
    digits = 1 if entry.score == "psnr_db" else 3
    text = f"{entry.mean:.{digits}f}"
    alike = math.isnan(entry.low) or entry.low == entry.high
    return text if alike else f"{text} [{entry.low:.{digits}f}, {entry.high:.{digits}f}]"
