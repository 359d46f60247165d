"""Break the code on purpose, one small change at a time, and count how many of the changes the tests notice.

    python scripts/mutate.py --sample 160
    python scripts/mutate.py --only metrics/intervals --sample 0

Works on copies in a temporary folder. The tests of a change run in a fork of this process, which has the libraries
loaded. First the tests must pass without any change. Prints every survivor as a diff: it is either an equal program or
a missing test.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
import torch

ROOT = Path(__file__).parents[1]
#: mathematics and book-keeping, with the tests that must notice a change
TARGETS = {
    "backbones/objective": ["tests/backbones/test_objective.py", "tests/backbones/test_cogvideox.py"],
    "clips/transition": ["tests/clips/test_transition.py"],
    "clips/clip": ["tests/clips/test_clip.py"],
    "data/stream": ["tests/data/test_stream.py", "tests/data/test_resume_ranks.py"],
    "metrics/records": ["tests/metrics/test_records.py"],
    "metrics/intervals": ["tests/metrics/test_intervals.py"],
    "metrics/segmentation": ["tests/metrics/test_segmentation.py", "tests/metrics/test_all.py"],
    "metrics/pose": ["tests/metrics/test_pose.py", "tests/metrics/test_all.py"],
    "metrics/arc": ["tests/metrics/test_arc.py", "tests/metrics/test_all.py"],
    "training/checkpoint": ["tests/training/test_checkpoint.py"],
    "lora/adapters": ["tests/lora/test_adapters.py", "tests/lora/test_merging.py"],
    "lora/stacking": ["tests/lora/test_stacking.py"],
}
SWAPS: dict[type, type] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div},
}
SECONDS = 600
LIBRARIES = (
    "lightning.pytorch.cli",
    "diffusers",
    "transformers",
    "peft",
    "torchmetrics",
    "pandas",
    "matplotlib.pyplot",
)


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int]]:
    """What can be changed: a node, its field, and where in it. Messages and annotations are left alone."""
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        for part in (
            *([node.exc] if isinstance(node, ast.Raise) else ()),
            *([node.annotation] if isinstance(node, ast.arg | ast.AnnAssign) else ()),
            *([node.returns] if isinstance(node, ast.FunctionDef) else ()),
        )
        if part is not None
        for inner in ast.walk(part)
    }
    skipped |= {id(inner) for node in ast.walk(tree) for part in unobserved(node) for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
            yield node, "op", 0
        elif isinstance(node, ast.Compare):
            yield from ((node, "ops", i) for i, op in enumerate(node.ops) if type(op) in SWAPS)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            yield node, "value", 0
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            yield node, "operand", 0


def unobserved(node: ast.AST) -> Iterator[ast.AST]:
    """Sizes of caches, and the place in the program that a warning names: no result depends on them."""
    if isinstance(node, ast.keyword) and node.arg in ("stacklevel", "maxsize"):
        yield node.value


def mutate(node: ast.AST, field: str, index: int) -> None:
    """Make one change in place."""
    if field == "op":
        node.op = SWAPS[type(node.op)]()  # type: ignore[attr-defined]
    elif field == "ops":
        node.ops[index] = SWAPS[type(node.ops[index])]()  # type: ignore[attr-defined]
    elif field == "value":
        value = node.value  # type: ignore[attr-defined]
        node.value = not value if isinstance(value, bool) else value + 1  # type: ignore[attr-defined]
    elif isinstance(node.op, ast.USub):  # type: ignore[attr-defined]
        node.op = ast.UAdd()  # type: ignore[attr-defined]
    else:  # not x becomes not not x
        node.operand = ast.UnaryOp(ast.Not(), node.operand)  # type: ignore[attr-defined]


def mutants(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every changed program, each printed from its tree as the unchanged one is."""
    for number in range(len(list(places(ast.parse(source))))):
        tree = ast.parse(source)
        node, field, index = list(places(tree))[number]
        line = node.lineno  # type: ignore[attr-defined]
        mutate(node, field, index)
        yield line, ast.unparse(tree)


def preload() -> None:
    """Import what every test needs, so that forks start with it."""
    torch.set_num_threads(1)  # threads do not survive a fork
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in ("CogVideoXImageToVideoPipeline", "LTXImageToVideoPipeline", "WanImageToVideoPipeline"):
        getattr(sys.modules["diffusers"], name)


@dataclass
class Trial:
    """A change of a target whose tests run in a child process."""

    number: int
    child: int
    copy: Path
    file: Path
    original: str
    deadline: float

    def verdict(self) -> bool | None:
        """Whether all tests pass, ``None`` while they run. A run without end counts as noticed."""
        done, status = os.waitpid(self.child, os.WNOHANG)
        if not done and time.monotonic() < self.deadline:
            return None
        if not done:
            os.killpg(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        self.file.write_text(self.original)
        return bool(done) and os.waitstatus_to_exitcode(status) == 0


def started(number: int, copy: Path, name: str, text: str | None) -> Trial:
    """Run the tests of a target on a copy whose source is changed to ``text``, or not changed."""
    file = copy / source_of(name).relative_to(ROOT)
    original = file.read_text()
    file.write_text(text or original)
    child = os.fork()
    if child == 0:
        run_tests(copy, TARGETS[name])
    return Trial(number, child, copy, file, original, time.monotonic() + SECONDS)


def verdicts(copies: Sequence[Path], changes: Sequence[tuple[str, str | None]]) -> Iterator[bool]:
    """Whether the tests pass under each change, in order; as many run at a time as there are copies."""
    free, waiting, running, known = list(copies), list(enumerate(changes)), list[Trial](), dict[int, bool]()
    for wanted in range(len(changes)):
        while wanted not in known:
            while free and waiting:
                number, change = waiting.pop(0)
                running.append(started(number, free.pop(), *change))
            for trial in [*running]:
                if (verdict := trial.verdict()) is not None:
                    known[trial.number] = verdict
                    running.remove(trial)
                    free.append(trial.copy)
            time.sleep(0.05)
        yield known[wanted]


def run_tests(copy: Path, tests: list[str]) -> NoReturn:
    """In a fork: run the tests of the copy, silently, and end with their status."""
    os.setsid()  # so that what tests start can be ended with them
    os.chdir(copy)
    os.environ |= {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    preloaded = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    try:
        os._exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *preloaded, *tests])))
    finally:
        os._exit(99)


def main() -> None:
    """Run the sample and print survivors and the share of changes that were noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=160, help="changes to try; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="changes tried at a time")
    parser.add_argument("--only", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    args = parser.parse_args()
    preload()
    everything = [(name, *found) for name in args.only for found in mutants(source_of(name).read_text())]
    random.Random(args.seed).shuffle(everything)
    chosen, caught = everything[: args.sample or None], 0
    with tempfile.TemporaryDirectory() as folder:
        copies = [copied(Path(folder) / str(number)) for number in range(args.workers)]
        names = sorted({name for name, _, _ in chosen})
        for name, passes in zip(names, verdicts(copies, [(name, None) for name in names]), strict=True):
            if not passes:
                raise SystemExit(f"the tests of {name} fail without any change")
            print(f"{name}: its tests pass without a change", flush=True)
        passing = verdicts(copies, [(name, text) for name, _, text in chosen])
        for count, ((name, line, text), lives) in enumerate(zip(chosen, passing, strict=True), start=1):
            caught += not lives
            print(f"[{count}/{len(chosen)}] {name}:{line} {'SURVIVES' if lives else 'noticed'}", flush=True)
            if lives:
                plain = ast.unparse(ast.parse(source_of(name).read_text()))
                print("\n".join(difflib.unified_diff(plain.splitlines(), text.splitlines(), n=0, lineterm="")))
    print(
        f"{caught} of {len(chosen)} changes noticed ({100 * caught / max(1, len(chosen)):.0f} %), of {len(everything)}"
    )


def copied(folder: Path) -> Path:
    """A copy of what the tests need."""
    for part in ("vdmfewshot", "tests", "experiments"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def source_of(name: str) -> Path:
    """The file of a target."""
    return ROOT / "vdmfewshot" / f"{name}.py"


if __name__ == "__main__":
    main()
