"""Writes the tables of docs/tasks.md from the data beside it: docs/results/tasks/{published,rows}.jsonl.

``--collect FOLDER ...`` first takes over what studies have found, such as runs/boards and runs/pictures; a row of the
same task and number of shots is replaced.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DATA, PAGE = ROOT / "docs/results/tasks", ROOT / "docs/tasks.md"
SHOTS = (3, 10, 30)
#: of each score in ``rows.jsonl``
KEPT = ("score", "low", "high", "n", "ceiling", "copy_input")
#: main score of picture tasks → its name in the table, and its format
UNITS = {
    "psnr_db": ("PSNR dB", "{:.1f}"),
    "iou_dataset": ("mIoU", "{:.3f}"),
    "delta1": ("δ1", "{:.3f}"),
    "within_22_deg": ("within 22.5°", "{:.3f}"),
    "accuracy": ("accuracy", "{:.3f}"),
}
#: main scores of the tasks that are not measured in decibels
MAIN = {
    "image_to_mask": "iou_dataset",
    "depth": "delta1",
    "normals": "within_22_deg",
    "classification": "accuracy",
}
Row = dict[str, Any]


def read(name: str) -> list[Row]:
    """The rows of a file of data."""
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def collect(folder: Path) -> Iterator[Row]:
    """What a study has found: a row for each finished unit."""
    for done in sorted(folder.glob("units/*/*/DONE")):
        unit = json.loads((done.parent / "unit.json").read_text(encoding="utf-8"))
        found = json.loads((done.parent / "scores.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((folder / "configs" / f"{unit['config']}.yaml").read_text(encoding="utf-8"))
        options = config["data"]["init_args"]
        yield {
            "task": unit["task"],
            "shots": options["shots"],
            "steps": found["step"],
            "batch_size": options["batch_size"],
            "queries": found["scores"][found["main"]]["n"],
            "note": "",
            "scores": {name: {k: row.get(k) for k in KEPT} for name, row in found["scores"].items()},
        }


def merged(rows: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Rows of which the new ones replace those of the same task and shots, in the order of the page."""
    order = [row["task"] for row in read("published.jsonl")]
    by_key = {(row["task"], row["shots"]): row for row in [*rows, *new]}
    return [by_key[key] for key in sorted(by_key, key=lambda key: (order.index(key[0]), key[1]))]


def tables() -> dict[str, str]:
    """The tables by the name of their place in the page."""
    rows = {(row["task"], row["shots"]): row for row in read("rows.jsonl")}
    published = read("published.jsonl")
    boards = [row for row in published if "exact" in row]
    pictures = [row for row in published if "exact" not in row]
    return {
        "boards": table(
            ["task", "n", "published, 5B", "ours: exact (95 %)", "ours: cells", "copied input: cells", "budget"],
            [line for row in boards for line in board_lines(row, rows)],
        ),
        "pictures": table(
            ["task", "score", *(f"ours, n = {n}" for n in SHOTS), "copied input", "budget"],
            [picture_line(row, rows) for row in pictures],
        ),
    }


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def board_lines(task: Row, rows: Mapping[tuple[str, int], Row]) -> Iterator[list[str]]:
    """A line for n = 10, and one for each other n that was run."""
    for shots in SHOTS:
        found = rows.get((task["task"], shots))
        if found is None and shots != 10:
            continue
        head = [f"{task['name']} (`tasks/{task['task']}`)", str(shots), quoted(task, shots)]
        if found is None:
            yield [*head, "not run", "", "", ""]
            continue
        exact, cells = found["scores"]["pass@1"], found["scores"]["cell_accuracy"]
        yield [*head, interval(exact), f"{cells['score']:.2f}", f"{cells['copy_input']:.2f}", budget(found)]


def picture_line(task: Row, rows: Mapping[tuple[str, int], Row]) -> list[str]:
    """A line."""
    main = MAIN.get(task["task"], "psnr_db")
    unit, form = UNITS[main]
    found = {n: rows[task["task"], n] for n in SHOTS if (task["task"], n) in rows}
    scores = [form.format(found[n]["scores"][main]["score"]) if n in found else "not run" for n in SHOTS]
    copied, spent = "", ""
    if found:
        first = found.get(10, next(iter(found.values())))
        copied, spent = form.format(first["scores"][main]["copy_input"]), budget(first)
    return [f"{task['name']} (`tasks/{task['task']}`)", unit, *scores, copied, spent]


def quoted(task: Row, shots: int) -> str:
    """What is published for n shots, a way's other scores in brackets."""
    value = task["exact"].get(str(shots))
    more = [f"{name.upper()} {task[name][str(shots)]:.3f}" for name in ("psr", "rpl") if name in task]
    return "–" if value is None else f"{value:.3f}".rstrip("0").rstrip(".") + (f" ({', '.join(more)})" if more else "")


def interval(score: Mapping[str, float]) -> str:
    """Score and interval, where that is stored."""
    low, high = score.get("low"), score.get("high")
    return f"{score['score']:.2f}" + (f" ({low:.2f}–{high:.2f})" if low is not None and high is not None else "")


def budget(row: Row) -> str:
    """Steps x batch; queries."""
    return f"{row['steps']} x {row['batch_size']}; {row['queries']}" + (" *" if row["note"] else "")


def page(text: str) -> str:
    """The page with its tables as the data have them."""
    for name, content in tables().items():
        begin, end = f"<!-- table of {name}: python -m scripts.table_tasks -->\n", f"<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        text = head + begin + content + end + rest.partition(end)[2]
    return text


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collect", type=Path, nargs="+", default=[], help="folders of studies")
    folders = parser.parse_args().collect
    if folders:
        rows = merged(read("rows.jsonl"), [row for folder in folders for row in collect(folder)])
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (DATA / "rows.jsonl").write_text(text, encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
