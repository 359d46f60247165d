"""Write a page with a picture for every kind of task of both papers: ``python scripts/draw_tasks.py [NAME ...]``.

The pages are docs/tasks/*.md; what they say comes from experiments/tasks/*.yaml and docs/results/tasks/published.jsonl.
"""

from __future__ import annotations

import argparse
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
FILES = {file.stem: file for file in sorted((ROOT / "experiments/tasks").glob("*.yaml"))}
FOLDER = ROOT / "docs/tasks"
#: one page for tasks that differ in a number alone: its name, its title, and the tasks in order
GROUPS = {
    "elementary_automata": ("Elementary automata", [
        f"eca_{rule}" for rule in (8, 32, 128, 160, 4, 108, 170, 250, 30, 45, 90, 150, 110, 54, 62, 106)
    ]),
    "life_like": ("Life-like automata", ["life", "day_and_night", "maze_rule", "seeds_rule", "b3_s2"]),
    "langtons_ant": ("Langton's ant", ["ant_2", "ant_3", "ant_5", "ant_10"]),
    "mazes": ("Mazes", ["maze", "maze_generalisation"]),
    "styles": ("Styles", ["style_pixels", "style_mosaic", "style_woodcut"]),
}  # fmt: skip
#: told on docs/tasks.md alone: their tasks come from elsewhere
ARC = ("arc1", "arc2", "conceptarc", "miniarc")
#: examples in a picture, and pixels a side of each
EXAMPLES, SIDE = 4, 160
GAP = np.full((6, SIDE, 3), 255, np.uint8)
MODELS = ("CogVideoX1.5-5B", "Qwen3-4B")
SCORES = {"exact": "exact match", "psr": "PSR", "rpl": "RPL"}


def pages() -> dict[str, tuple[str, list[str]]]:
    """Title and tasks of every page but those of ARC, by the page's name."""
    grouped = {task for _, tasks in GROUPS.values() for task in tasks}
    single = {task: (sentence(task), [task]) for task in FILES if task not in grouped and task not in ARC}
    return dict(sorted({**GROUPS, **single}.items()))


def sentence(task: str) -> str:
    """What the first line of a task's file says it is."""
    return FILES[task].read_text(encoding="utf-8").splitlines()[0].lstrip("# ").rpartition(": vdmfewshot")[0]


def written(page: str) -> str:
    """Text of a page."""
    title, tasks = pages()[page]
    published = read_published()
    head = re.split(r"[:;]", title)[0]
    lines = [f"# {head}", ""]
    for task in tasks:
        if len(tasks) > 1:
            lines += [f"## {sentence(task)}", ""]
        elif sentence(task) != head:
            lines += [f"{sentence(task)}.", ""]
        lines += [
            f"![four examples: inputs above, targets below]({task}.png)", "",
            "```bash", f"vdmfewshot adapt -c tasks/{task} --data.shots 10", "```", "",
        ]  # fmt: skip
        lines += table(published.get(task, {}))
    lines += [footer(tasks[0], any(task in published for task in tasks))]
    return "\n".join(lines) + "\n"


def read_published() -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Figures by task, score, model and number of examples, of tasks that have any."""
    lines = (ROOT / "docs/results/tasks/published.jsonl").read_text(encoding="utf-8").splitlines()
    found = {}
    for row in map(json.loads, lines):
        both = zip(MODELS, (row, row.get("qwen3_4b", {})), strict=True)
        scores = {model: {s: own[s] for s in SCORES if s in own} for model, own in both}
        if scores[MODELS[0]]:
            found[row["task"]] = {s: {m: own[s] for m, own in scores.items() if s in own} for s in SCORES}
    return found


def table(scores: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Published figures by number of examples; nothing if there are none."""
    columns = [(score, model) for score in SCORES for model in MODELS if model in scores.get(score, {})]
    if not columns:
        return []
    shots = sorted({int(n) for score, model in columns for n in scores[score][model]})
    head = ["n", *(f"{SCORES[score]}, {model}" for score, model in columns)]
    rows = [[str(n), *(cell(scores[score][model].get(str(n))) for score, model in columns)] for n in shots]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)] + [""]


def cell(value: float | None) -> str:
    """A figure as the paper prints it."""
    return "" if value is None else f"{value:.3f}".removesuffix("0")


def footer(task: str, published: bool) -> str:
    """Where figures come from, and where ours are."""
    source = (
        "Published figures: arXiv 2510.24448, 200 boards, both models adapted with LoRA."
        if published
        else "The papers publish pictures for this kind of task, and no figures."
    )
    size = yaml.safe_load(FILES[task].read_text(encoding="utf-8"))["data"]["init_args"]
    drawn = f"Drawn here for {size['height']} x {size['width']} pixels, as small models see it."
    return f"{source} Ours, with the small model that ships, are in [the table of all tasks](../tasks.md). {drawn}"


def picture(task: str) -> Image.Image:
    """Inputs above targets, as the model is shown them."""
    data = yaml.safe_load(FILES[task].read_text(encoding="utf-8"))["data"]
    module, _, name = data["class_path"].rpartition(".")
    settings: dict[str, Any] = data["init_args"] | {"shots": EXAMPLES, "max_queries": 1}
    source = getattr(import_module(module), name)(**settings)
    source.setup("fit")
    columns = [
        np.concatenate([large(pair.image), GAP, large(source.codec.encode(pair.target, source.box(pair)))])
        for pair in source.support
    ]
    gap = np.full((len(columns[0]), len(GAP), 3), 255, np.uint8)
    joined = [part for column in columns for part in (column, gap)][:-1]
    return Image.fromarray(np.concatenate(joined, axis=1))


def large(image: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture on a white square of ``SIDE`` pixels, its pixels kept visible."""
    scale = SIDE / max(image.shape[:2])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    square = np.full((SIDE, SIDE, 3), 255, np.uint8)
    square[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    return square


def main() -> None:
    """Write the pages that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="pages; all if not given")
    names = parser.parse_args().names
    FOLDER.mkdir(exist_ok=True)
    for page, (_, tasks) in pages().items():
        if names and page not in names:
            continue
        for task in tasks:
            picture(task).quantize(64).save(FOLDER / f"{task}.png", optimize=True)
        (FOLDER / f"{page}.md").write_text(written(page), encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
