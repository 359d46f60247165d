"""Command-line errors that name the nearest valid key."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, NoReturn, get_type_hints

from jsonargparse import DefaultHelpFormatter
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import Logger

from vdmfewshot.backbones.base import Backbone

#: what jsonargparse says of a word that it does not know
UNKNOWN = re.compile(
    r"Option '([\w.]+)' is not accepted|unrecognized arguments: --([\w.]+)|[Kk]ey '([\w.]+)' is not expected"
    r"|does not accept option '([\w.]+)'|Expected a path but (\w+) either|dot import path string: (\w+)"
)
ROOTS = (LightningModule, LightningDataModule, Backbone, Callback, Logger)


class HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):  # type: ignore[misc]
    """jsonargparse's help with the line breaks of the description."""


class SuggestingParser(LightningArgumentParser):
    """``LightningArgumentParser`` with short error messages that end in "did you mean …?"; no abbreviated options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message, the nearest valid names and where help is; exit with status 2."""
        if not self.exit_on_error:
            super().error(message, ex)
        hints = [f"unknown {word!r}: {hint}" for word, hint in dict.fromkeys(suggestions(message, self._known()))]
        verb = self.prog.replace(" [options]", "")
        sys.stderr.write("\n".join([f"error: {message}", *hints, f"see: {verb} --help", ""]))
        raise SystemExit(2)

    def _known(self) -> set[str]:
        """Names of options of this parser and its subcommands, of our classes and of their arguments."""
        names = {a.dest for parser in (self, *self._subparsers_of()) for a in parser._actions}
        for cls in _classes(ROOTS):
            names.add(cls.__name__)
            names.update(_argument_names(cls))
        return names

    def _subparsers_of(self) -> Iterable[Any]:
        action = getattr(self, "_subcommands_action", None)
        return [] if action is None else action._name_parser_map.values()


def suggestions(message: str, known: set[str]) -> list[tuple[str, str]]:
    """(unknown word, "did you mean …?") for every unknown word in a message that resembles a known name."""
    by_ending: dict[str, set[str]] = {}
    for name in known:
        by_ending.setdefault(name.rpartition(".")[2].lower(), set()).add(name)
    right = {"class_path", "init_args", *(name.rpartition(".")[2] for name in known)}
    found = []
    for match in UNKNOWN.finditer(message):
        word = next(group for group in match.groups() if group)
        # A wrong key with a value arrives as "trainr.max_steps": any part of it may be the misspelt one.
        for part in reversed(word.split(".")):
            near = [] if part in right else difflib.get_close_matches(part.lower(), by_ending, n=2, cutoff=0.6)
            if near:
                found.append((word, "did you mean " + " or ".join(min(by_ending[n], key=len) for n in near) + "?"))
                break
    return found


def _classes(roots: Iterable[Any]) -> Iterator[Any]:
    """All imported concrete subclasses that a configuration may name."""
    for root in roots:
        for cls in root.__subclasses__():
            module: str = cls.__module__
            if module.startswith(("vdmfewshot.", "lightning.")):
                yield cls
                yield from _classes([cls])


def _argument_names(cls: type) -> set[str]:
    """Constructor arguments, and the fields of those that are dataclasses."""
    names = set(inspect.signature(cls).parameters) - {"args", "kwargs"}
    if not cls.__module__.startswith("vdmfewshot."):
        return names
    for kind in get_type_hints(getattr(cls, "__init__")).values():  # noqa: B009 (mypy)
        if is_dataclass(kind):
            names.update(f.name for f in fields(kind))
    return names
