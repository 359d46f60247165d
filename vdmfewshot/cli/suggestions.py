"""The parser's errors in words of the user: what the front could not judge arrives here."""

from __future__ import annotations

import re
import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from vdmfewshot.cli.errors import did_you_mean
from vdmfewshot.cli.schema import schema

#: what jsonargparse says of a word that it does not know
UNKNOWN = re.compile(
    r"Option '([\w.]+)' is not accepted|unrecognized arguments: --([\w.]+)|[Kk]ey '([\w.]+)' is not expected"
    r"|does not accept option '([\w.]+)'|Expected a path but (\w+) either|dot import path string: (\w+)"
)
DENIED = re.compile(r"Importing '([\w.]+)' is not allowed")
#: characters of a message; jsonargparse repeats whole values in it
LONGEST = 5000
REQUIRED = re.compile(r"the following arguments are required: (.*)")
KEY = re.compile(r"[Pp]arser key [\"']([\w.]+)[\"']")
EXPECTED = re.compile(r"Expected an? (.+?)(?:\. Got value|$)", re.MULTILINE)
VALUE = re.compile(r"(?:Got value|Given value): (.*)")
#: lines about how jsonargparse tried
INSIDES = re.compile(r"NestedArg|Namespace\(|subtypes|Errors:|Given value type|^Parser key")


class HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):  # type: ignore[misc]  # mypy skips jsonargparse
    """jsonargparse's help with the line breaks of the description."""


class SuggestingParser(ArgumentParser):  # type: ignore[misc]  # mypy skips jsonargparse
    """A parser whose errors are one sentence; no abbreviated options. Lightning's joins it in ``command``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong, the nearest valid name and where help is; exit with status 2."""
        if not self.exit_on_error:
            super().error(message, ex)
        sys.stderr.write(f"error: {plain(message)}\nsee: {self.prog.replace(' [options]', '')} --help\n")
        raise SystemExit(2)


def plain(message: str) -> str:
    """One sentence of what jsonargparse says in many lines, and no more of it than can be read."""
    if denied := dict.fromkeys(DENIED.findall(message)):
        return refusal(list(denied))
    message = message if len(message) <= LONGEST else f"{message[:LONGEST]} … ({len(message)} characters)"
    keys = ".".join(dict.fromkeys(KEY.findall(message)))
    for match in UNKNOWN.finditer(message):
        word = next(group for group in match.groups() if group)
        return f"unknown {word!r}{near(word, keys)}"
    if required := REQUIRED.search(message):
        return f"{keys or 'the command'} needs {required.group(1)}"
    wanted, given = [*map(type_in_words, EXPECTED.findall(message))], VALUE.search(message)
    if keys and wanted and given:
        return f"{keys} must be {' or '.join(dict.fromkeys(wanted))}, got {given.group(1)}"
    lines = [line.strip(" -") for line in message.splitlines()]
    return " ".join(line for line in lines if line and not INSIDES.search(line)) or " ".join(lines)


def refusal(paths: list[str]) -> str:
    """What a configuration named and may not, and what comes near to it."""
    ours = [path.rpartition(".")[2] for path in paths if path.startswith("vdmfewshot.")]
    hint = (
        "; for W&B use ResilientWandbLogger"
        if any("Wandb" in path for path in paths)
        else near(ours[0])
        if ours
        else ""
    )
    return (
        f"{', '.join(paths)} cannot be named in a configuration: only classes of vdmfewshot and some of Lightning and "
        f"torch.optim can, no functions and no other packages (SECURITY.md){hint}"
    )


def near(word: str, place: str = "") -> str:
    """``; did you mean …?`` for a misspelt option or class, any part of which may be the wrong one.

    Args:
        word: as it was written, or what is left of it below ``place``.
        place: the option that it belongs to, which is then named in front.
    """
    endings = {name.rpartition(".")[2] for name in schema().names()}
    parts = word.split(".")
    for i in reversed(range(len(parts))):
        before = [part for part in (place, *parts[:i]) if part]
        prefix = f"--{'.'.join(before)}." if place and 0 < i == len(parts) - 1 else ""
        if parts[i] not in endings and (found := did_you_mean(parts[i], endings, prefix)):
            return found
    return ""


def type_in_words(text: str) -> str:
    """``<class 'int'>`` → ``int``; ``typing.Literal['a', 'b']`` → ``one of 'a', 'b'``."""
    if literal := re.fullmatch(r"typing\.Literal\[(.*)\]", text):
        return f"one of {literal.group(1)}"
    return "null" if "NoneType" in text else re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", text)
