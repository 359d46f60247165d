"""What a run is called that is given no name: after the experiment or its data, not after what is laid over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from vdmfewshot.cli.arguments import split
from vdmfewshot.storage.limited_yaml import parse_yaml


def run_name(files: Sequence[Path], words: Sequence[str], data: str) -> str:
    """A name for the folder below ``runs/``.

    Args:
        files: configuration files in order: the last that chooses the data gives the name.
        words: of the command line, where the data may be chosen by a file instead.
        data: class of the data, after which the run is called if no file chooses them.
    """
    return next(_chosen(files, words), data.rpartition(".")[2].removesuffix("DataModule").lower())


def _chosen(files: Sequence[Path], words: Sequence[str]) -> Iterator[str]:
    yield from (name_of(file) for file in reversed(files) if chooses_data(file))
    given = [Path(a.value) for a in split(words) if a.name == "data" and a.value]
    yield from (file.stem for file in reversed(given) if file.suffix in (".yaml", ".yml", ".json"))


def name_of(file: Path) -> str:
    """The file's own, or of ``runs/<name>/version_<k>/config.yaml`` that of the run."""
    folder = file.resolve().parent
    return folder.parent.name if file.stem == "config" and folder.name.startswith("version_") else file.stem


def chooses_data(file: Path) -> bool:
    """Whether a configuration says which data, and not just how many of them."""
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    data = content.get("data") if isinstance(content, dict) else None
    return isinstance(data, str) or (isinstance(data, dict) and "class_path" in data)
