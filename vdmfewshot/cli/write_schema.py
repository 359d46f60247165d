"""Writes ``schema.json``: asks every verb's parser what it accepts.

    python -m vdmfewshot.cli.write_schema

To be run after every change of an option, a default, a docstring of a configurable class, or a verb.
"""

from __future__ import annotations

import argparse
import collections.abc
import inspect
import io
import json
import os
import re
import types
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from enum import Enum
from importlib.metadata import version
from typing import Any, Literal, Union, get_args, get_origin
from unittest.mock import patch

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger

from vdmfewshot.backbones.base import Backbone
from vdmfewshot.cli.allowlist import allowed_paths, defined_at
from vdmfewshot.cli.command import import_rooms
from vdmfewshot.cli.schema import FILE, LIBRARIES
from vdmfewshot.cli.verbs import VERBS, Verb

KINDS: tuple[Any, ...] = (LightningModule, LightningDataModule, Backbone, Callback, Logger)
#: types of values that are no objects of a class to a person
PLAIN = (str, int, float, types.NoneType, dict, list, tuple, os.PathLike)
#: options of every parser that are no settings
MACHINERY = ("help", "print_config", "print_shtab", "config")


class _Asked(Exception):
    """Raised in place of printing the help, with the parser that would have printed it."""

    def __init__(self, parser: Any) -> None:
        super().__init__()
        self.parser = parser


def build() -> dict[str, Any]:
    """Content of ``schema.json``."""
    import_rooms("backbones", "callbacks", "data", "training")
    verbs = {verb.name: _verb(verb) for verb in VERBS}
    shared = dict(verbs["adapt"]["options"])
    for name, verb in verbs.items():
        if name != "adapt":
            verb["options"] = {k: {} if shared.get(k) == v else v for k, v in verb["options"].items()}
    verbs["adapt"]["options"] = {name: {} for name in shared}
    classes = {cls.__name__: found for kind in KINDS for cls in _offered(kind) if (found := _class(cls, kind))}
    return {
        "versions": {name: version(name) for name in LIBRARIES},
        "shared": shared,
        "verbs": verbs,
        "classes": dict(sorted(classes.items())),
    }


def main() -> None:
    """Write the file."""
    FILE.write_text(json.dumps(build(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# -- verbs ------------------------------------------------------------------------------------------------------------


def _verb(verb: Verb) -> dict[str, Any]:
    parser = _parser_of(verb)
    actions = [a for a in parser._actions if a.option_strings and a.dest not in MACHINERY]
    words = [a for a in parser._actions if not a.option_strings]
    like_adapt = isinstance(parser, ArgumentParser) and any(a.dest == "trainer" for a in actions)
    return {
        "description": (parser.description or "").strip(),
        "options": dict(_options(parser, "")),
        "complete": not words and not verb.own,
        "text": "" if like_adapt else _text(parser),
    }


def _parser_of(verb: Verb) -> Any:
    """The parser that would print the help of a verb."""

    def ask(self: Any, file: Any = None) -> None:
        raise _Asked(self)

    with patch.object(argparse.ArgumentParser, "print_help", ask):
        try:
            verb.load()(["--help"])
        except _Asked as asked:
            return asked.parser
    raise RuntimeError(f"{verb.name} --help prints no help")


def _text(parser: Any) -> str:
    """Help as the parser prints it, 100 columns wide on every machine."""
    printed = io.StringIO()
    with patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}), redirect_stdout(printed):
        parser.print_help()
    return printed.getvalue()


# -- options ----------------------------------------------------------------------------------------------------------


def _class(cls: type, kind: type) -> dict[str, Any] | None:
    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_class_arguments(cls, "x", fail_untyped=False)
    except ValueError:  # it needs what only Python can give
        return None
    return {
        "path": f"{cls.__module__}.{cls.__qualname__}",
        "kind": kind.__name__,
        "help": plain((inspect.getdoc(cls) or "").partition("\n\n")[0]),
        "options": dict(_options(parser, "x.")),
    }


def _offered(kind: Any) -> Iterator[Any]:
    """Concrete subclasses that a configuration may name and a person would, in alphabetical order.

    A class says ``offered = False`` of itself, not of its subclasses, if others make its objects.
    """
    found, todo = set(), [kind]
    while todo:
        for cls in todo.pop().__subclasses__():
            todo.append(cls)
            hidden = cls.__name__.startswith("_") or not vars(cls).get("offered", True)
            if not inspect.isabstract(cls) and not hidden and defined_at(cls) in allowed_paths():
                found.add(cls)
    return iter(sorted(found, key=lambda cls: str(cls.__name__)))


def _options(parser: Any, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, option) of every setting of a parser, in its order."""
    for action in parser._actions:
        name = action.dest.removeprefix(prefix)
        machinery = name in MACHINERY or name.endswith(".help") or not name or name == prefix.rstrip(".")
        if not action.option_strings or machinery or type(action).__name__ == "_ActionConfigLoad":
            continue
        hint = getattr(action, "_typehint", None) or action.type or (str if action.nargs != 0 else bool)
        option = {
            "type": type_name(hint),
            "help": plain(action.help or ""),
            "default": _default(action.default),
            "required": bool(action.required) or name in _required(parser, prefix) or None,
            "choices": [*map(str, action.choices or ()), *choices(hint)] or None,
            "kinds": sorted(set(kinds(hint))) or None,
        }
        yield name, {key: value for key, value in option.items() if value is not None}


def _required(parser: Any, prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name in getattr(parser, "required_args", ())}


def _default(value: Any) -> Any:
    if isinstance(value, Namespace):
        value = value.as_dict()
    if isinstance(value, dict):
        return {key: _default(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_default(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    known = value is None or isinstance(value, bool | int | float | str)
    return None if value == argparse.SUPPRESS else value if known else str(value)


def type_name(hint: Any) -> str:
    """A type as a person writes it: ``int | None``, ``"last" | "clip"``."""
    if hint is None or hint is type(None):
        return "null"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(word for a in arguments for word in type_name(a).split(" | ")))
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is collections.abc.Callable and arguments:
        return type_name(arguments[-1])
    if origin is not None and arguments:
        return f"{origin.__name__}[{', '.join(map(type_name, arguments))}]"
    return getattr(hint, "__name__", str(hint))


def choices(hint: Any) -> list[str]:
    """Values of a type that is a choice of words, or nothing if other values are legal, too."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if not all(part is type(None) or get_origin(part) is Literal for part in parts):
        return []
    words = ["null" if part is type(None) else str(value) for part in parts for value in get_args(part) or (None,)]
    return list(dict.fromkeys(words))


def kinds(hint: Any) -> Iterable[str]:
    """Names of the classes that may stand where this type is asked for."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is collections.abc.Callable and arguments:
        return kinds(arguments[-1])
    if arguments and origin is not Literal:
        return [kind for argument in arguments for kind in kinds(argument)]
    if not inspect.isclass(hint) or issubclass(hint, PLAIN):
        return []
    return [next((kind.__name__ for kind in KINDS if issubclass(hint, kind)), hint.__name__)]


def plain(text: str) -> str:
    """A docstring's text in one paragraph, without marks of reStructuredText and without "Default: …" at its end."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "`")
    text = re.sub(r"\s*Defaults?:? (to )?(`[^`]*`|\S+)\.?\s*$", "", " ".join(text.split()))
    return text.strip()


if __name__ == "__main__":
    main()
