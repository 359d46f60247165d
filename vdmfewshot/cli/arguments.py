"""A command line as a list of options, put into an order in which every option finds its class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

#: short options with a value, and their long names
SHORT = {"-c": "config"}
NUMBER = re.compile(r"-\.?\d")


@dataclass(frozen=True)
class Argument:
    """An option, or a word that belongs to none.

    Attributes:
        name: of the option without dashes, ``init_args`` and ``class_path``: ``data.shots``; "" for a word.
        value: ``None`` if none was given.
        words: as typed.
    """

    name: str
    value: str | None
    words: tuple[str, ...]

    @property
    def appends(self) -> bool:
        """Whether it adds to a list, as in ``--trainer.callbacks+=Scorer``."""
        return self.words[0].partition("=")[0].endswith("+")

    def replaced(self, value: str) -> Argument:
        """The same option with another value."""
        return Argument(self.name, value, (self.words[0].partition("=")[0], value))


def short_name(dotted: str) -> str:
    """``data.init_args.shots`` → ``data.shots``; ``data.class_path`` → ``data``."""
    return ".".join(part for part in dotted.split(".") if part not in ("init_args", "class_path"))


def split(words: Sequence[str]) -> list[Argument]:
    """Group the words of a command line after its verb."""
    found, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not _is_option(name):
            found.append(Argument("", word, (word,)))
            continue
        key = SHORT.get(name) or short_name(name.lstrip("-").removesuffix("+"))
        if equals:
            found.append(Argument(key, value, (word,)))
        elif rest and not _is_option(rest[0]):
            found.append(Argument(key, rest[0], (word, rest.pop(0))))
        else:
            found.append(Argument(key, None, (word,)))
    return found


def join(arguments: Iterable[Argument]) -> list[str]:
    """The words again."""
    return [word for argument in arguments for word in argument.words]


def in_order(arguments: Sequence[Argument]) -> list[Argument]:
    """Move options behind what they belong to: those of a class behind its name, all behind the first files.

    ``--data.target mask --data PairsDataModule`` is the same as ``--data PairsDataModule --data.target mask``. Options
    that stand behind the first name of their class, or the first file, stay where they are: later ones win.
    """
    ordered = _behind_files(arguments)
    for head in sorted(_heads(ordered), key=lambda name: name.count(".")):
        place = next(i for i, argument in enumerate(ordered) if argument.name == head)
        early = [a for a in ordered[:place] if a.name.startswith(f"{head}.")]
        before = [a for a in ordered[:place] if a not in early]
        ordered = [*before, ordered[place], *early, *ordered[place + 1 :]]
    return ordered


def _behind_files(arguments: Sequence[Argument]) -> list[Argument]:
    files = [i for i, argument in enumerate(arguments) if argument.name == "config"]
    if not files:
        return list(arguments)
    start = end = files[0]
    while end < len(arguments) and arguments[end].name == "config":
        end += 1
    return [*arguments[start:end], *arguments[:start], *arguments[end:]]


def _heads(arguments: Sequence[Argument]) -> Iterator[str]:
    """Names of options that others on the line belong to; not of lists, whose items keep their order."""
    names = {argument.name for argument in arguments}
    lists = {argument.name for argument in arguments if argument.appends}
    for name in names - lists - {""}:
        if any(other.startswith(f"{name}.") for other in names):
            yield name


def _is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not NUMBER.match(word)
