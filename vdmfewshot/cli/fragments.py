"""The configurations that ship with the package, by name from anywhere: ``-c nuclei``, ``--model ltx-video-2b``."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vdmfewshot.cli.arguments import Argument
from vdmfewshot.cli.errors import Mistake, did_you_mean

PACKAGE = Path(__file__).parents[1]
#: of an installed wheel, and of a checkout
ROOTS = tuple(root / "experiments" for root in (PACKAGE, PACKAGE.parent))
#: what ``vdmfewshot list`` lists: its folders of experiments/, and how one of its names is used
KINDS = {
    "tasks": (("", "tasks"), "-c"),
    "models": (("model",), "--model"),
    "data": (("data",), "--data"),
    "trainers": (("trainer",), "--trainer"),
    "overlays": (("overlay",), "-c"),
    "studies": (("studies",), "study -c"),
}
FILES = (".yaml", ".yml", ".json")
#: options that take a name, and the folders in which it is looked for
OPTIONS = {
    "config": ("", "tasks", "overlay", "studies"),
    "model": ("model",),
    "data": ("data",),
    "trainer": ("trainer",),
}


def experiments() -> Path:
    """The folder of the shipped configurations."""
    return next(root for root in ROOTS if root.is_dir())


def fragments(folders: Sequence[str]) -> dict[str, Path]:
    """Files in these folders of ``experiments/`` by name, in alphabetical order."""
    files = [file for folder in folders for file in (experiments() / folder).glob("*.yaml")]
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem)}


def summary(file: Path) -> str:
    """What a file is: the first sentence of its leading comment; of an experiment without one, that of its data."""
    comment, data = [], None
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and data is None:
            comment.append(line.removeprefix("#").strip())
        elif line.startswith("data: ") and (file.parent / line[6:].strip()).is_file():
            data = file.parent / line[6:].strip()
    told = " ".join(line for line in comment if not line.startswith("vdmfewshot "))
    first = told.partition(". ")[0].partition(": vdmfewshot")[0].removesuffix(".")
    return summary(data) if data and not first else first


def listing(kinds: Sequence[str]) -> str:
    """The shipped configurations of some kinds, and how each is used."""
    lines = []
    for kind in kinds:
        folders, option = KINDS[kind]
        lines.append(f"{kind}, used as {option} NAME:")
        for name, file in fragments(folders).items():
            text = textwrap.wrap(summary(file), 54)
            lines += [f"  {name:<24}{text[0] if text else ''}".rstrip(), *(f"{'':26}{more}" for more in text[1:])]
        lines.append("")
    return "\n".join(lines)


def show(args: Sequence[str]) -> None:
    """Run ``vdmfewshot list``.

    Args:
        args: kinds; all if there are none.

    Raises:
        Mistake: for another kind.
    """
    parser = argparse.ArgumentParser("vdmfewshot list", description="What ships with the package, by name.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all if not given")
    kinds = parser.parse_args(list(args)).kinds
    for kind in kinds:
        if kind not in KINDS:
            raise Mistake(f"there is no list of {kind}{did_you_mean(kind, KINDS, otherwise=True)}", "vdmfewshot list")
    sys.stdout.write(listing(kinds or list(KINDS)))


def resolve(argument: Argument, classes: Sequence[str] = ()) -> Argument:
    """An option whose value is the name of a shipped configuration, or a path that exists only there, as its file.

    Args:
        argument: an option of any kind.
        classes: names that may stand there, too.

    Raises:
        Mistake: if there is no such file, name or class; it says which there are.
    """
    folders, value = OPTIONS.get(argument.name), argument.value
    if folders is None or not value or value.lstrip()[:1] in "{[":
        return argument
    if file := by_name(argument.name, value):
        return argument.replaced(str(file))
    if Path(value).is_file() or value in classes or (argument.name != "config" and _is_import_path(value)):
        return argument
    if file := by_path(value):
        return argument.replaced(str(file))
    raise Mistake(_unknown(argument, value, [*fragments(folders)], classes))


def included(key: str, value: Any, folder: Path) -> Path | None:
    """The file that a setting of a file stands for: ``data: nuclei`` is what ``--data nuclei`` is.

    Args:
        key: of the setting.
        value: of the setting.
        folder: of the file; a file beside it is meant before a shipped one of the same path.
    """
    if not isinstance(value, str):
        return None
    known = key in OPTIONS and key != "config"
    if known and (file := by_name(key, value)):
        return file
    if value.endswith(FILES) and (folder / value).is_file():
        return folder / value
    return by_path(value) if known else None


def by_name(option: str, value: str) -> Path | None:
    """The shipped configuration of this name."""
    known = {name.replace("_", "-"): file for name, file in fragments(OPTIONS[option]).items()}
    return known.get(value.replace("_", "-"))


def by_path(value: str) -> Path | None:
    """The shipped configuration at ``experiments/nuclei.yaml``, or ``tasks/hitori`` for short."""
    places = (experiments().parent / value, experiments() / f"{value}.yaml")
    return next((place for place in places if place.is_file()), None)


def _is_import_path(value: str) -> bool:
    return "/" not in value and "." in value and not value.endswith(FILES)


def _unknown(argument: Argument, value: str, known: Sequence[str], classes: Sequence[str]) -> str:
    option = argument.words[0].partition("=")[0]
    near = did_you_mean(Path(value).stem, [*known, *classes])
    if "/" in value or value.endswith(FILES):
        return f"{option} {value}: there is no such file{near}"
    there = [f"shipped: {', '.join(known)}", *([f"classes: {', '.join(sorted(classes))}"] if classes else [])]
    return "\n".join([f"{option} {value}: there is no such file or name{near}", *([] if near else there)])
