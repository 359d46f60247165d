"""Where a run may write: below the working folder, unless the person at the command line says otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vdmfewshot.storage.limited_yaml import parse_yaml, read_yaml

#: arguments, of any class that a configuration may name, that become folders or names of files to write
WRITTEN = (
    *("default_root_dir", "save_dir", "root_dir", "log_dir", "dirpath", "cache_dir"),
    *("name", "version", "filename", "config_filename", "sub_dir"),
)
FLAG = "write_outside"


def nodes(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every dictionary of a configuration, nested ones included."""
    if isinstance(config, Mapping):
        yield config
    for value in config.values() if isinstance(config, Mapping) else config if isinstance(config, list | tuple) else ():
        yield from nodes(value)


def is_outside(value: str | os.PathLike[str]) -> bool:
    """Whether a path leaves the working folder, as it is spelt: links, which a configuration cannot make, may."""
    text = os.path.expanduser(os.path.expandvars(os.fspath(value)))
    if "://" in text or "::" in text or "$" in text:  # addresses of fsspec, and variables that are not set
        return True
    return not Path(os.path.abspath(text)).is_relative_to(Path.cwd())


def typed(args: Sequence[str]) -> set[tuple[str, str]]:
    """(last part of the option's name, value) of all that stands on a command line itself, not in its files."""
    found: set[tuple[str, str]] = set()
    for i, arg in enumerate(args):
        if arg.startswith("-"):
            key, equals, value = arg.lstrip("-").partition("=")
            following = args[i + 1] if i + 1 < len(args) and not args[i + 1].startswith("--") else "true"
            found.update(leaves(key, value if equals else following))
    return found


def leaves(key: str, text: str) -> Iterator[tuple[str, str]]:
    """The option itself and, where its value is a structure, the keys and values in it."""
    name = key.rpartition(".")[2].removesuffix("+")
    yield name, text
    try:
        loaded = parse_yaml(text)
    except yaml.YAMLError:
        return
    for node in nodes(loaded):
        yield from ((str(inner).rpartition(".")[2], str(value)) for inner, value in node.items())


def check_destinations(config: Mapping[str, Any], args: Sequence[str]) -> None:
    """Refuse to write outside of the working folder where only a file says so.

    Args:
        config: of a run, plain dictionaries and lists.
        args: its command line.

    Raises:
        ValueError: naming option, value and remedy.
    """
    asked = typed(args)
    if (FLAG, "true") in asked:
        return
    for node in nodes(config):
        for key in WRITTEN:
            refuse_outside(key, node.get(key), asked)


def refuse_outside(key: str, value: Any, asked: set[tuple[str, str]]) -> None:
    """Refuse a place outside of the working folder that does not stand on the command line itself.

    Raises:
        ValueError: naming option, value and remedy.
    """
    if (FLAG, "true") in asked or (key, str(value)) in asked:
        return
    if isinstance(value, str | os.PathLike) and is_outside(value):
        raise ValueError(
            f"{key} must lie in the working folder if a file says so, got {str(value)!r}; give it on the "
            f"command line, or add --{FLAG}=true if you trust the file"
        )


def check_study(file: Path, args: Sequence[str]) -> None:
    """Refuse a study or a sweep that names places outside of the working folder, or itself consents to them.

    Args:
        file: YAML.
        args: the command line of the study.

    Raises:
        ValueError: naming option, value and remedy.
    """
    asked = typed(args)
    for key, value in places(read_yaml(file)):
        if key == FLAG and (FLAG, "true") not in asked:
            raise ValueError(f"--{FLAG} must stand on the command line itself, not in {file}; take it out")
        if key in WRITTEN or (key == "out" and key not in dict(asked)):  # which the command line replaces
            refuse_outside(key, value, asked)


def places(content: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """(last part of the name, value) of every setting of a study or a sweep, those of its command lines included."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from places(value, name if key in ("value", "values") else str(key))
    elif isinstance(content, list | tuple) and name in ("args", "command"):
        yield from typed([str(word) for word in content])
    elif isinstance(content, list | tuple):
        for value in content:
            yield from places(value, name)
    elif isinstance(content, str):
        yield from leaves(name, content)
