"""Limits of what is read as YAML: a small file must not become a large or an endless structure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from vdmfewshot.storage.errors import DamagedFileError

#: characters of one file or value; the largest configuration that we ship has 2000
MAX_CHARACTERS = 1_000_000
#: values within values; a run's configuration has 8
MAX_DEPTH = 40
#: values after aliases are written out
MAX_VALUES = 100_000
#: characters of a word without quotes: Python's integers have up to 4300 digits
MAX_WORD = 4000
BASE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class TooLarge(yaml.YAMLError):  # type: ignore[misc]  # yaml has stubs without it
    """A text exceeds the limits; a YAML error, which jsonargparse reports beside the name of the file."""


def check_yaml(text: str) -> None:
    """Refuse what is too long, nested too deeply, too large once aliases are written out, or part of itself.

    Events are counted as they come, so that nothing is built and nothing recurses.

    Raises:
        TooLarge: naming limit, value and remedy.
        yaml.YAMLError: if the text is no YAML.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLarge(
            f"a configuration has at most {MAX_CHARACTERS} characters, got {len(text)}: is it the right file?"
        )
    sizes: dict[str, int] = {}  # values that an anchor stands for
    begun: list[tuple[str | None, int]] = [(None, 0)]  # (anchor, values so far) of what has begun and not ended
    for event in yaml.parse(text, Loader=BASE):
        if isinstance(event, yaml.CollectionStartEvent):
            begun.append((event.anchor, 1))
            if len(begun) > MAX_DEPTH:
                raise TooLarge(f"a configuration is nested at most {MAX_DEPTH} deep; make it flatter")
        elif isinstance(event, yaml.CollectionEndEvent | yaml.ScalarEvent | yaml.AliasEvent):
            anchor, size = begun.pop() if isinstance(event, yaml.CollectionEndEvent) else _leaf(event, sizes)
            if anchor:
                sizes[anchor] = size
            outer, before = begun.pop()
            begun.append((outer, before + size))
            if before + size > MAX_VALUES:
                raise TooLarge(
                    f"a configuration has at most {MAX_VALUES} values, those of its aliases included; use fewer"
                )


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML text within the limits.

    Raises:
        TooLarge: naming limit, value and remedy.
        yaml.YAMLError: if the text is no YAML.
    """
    check_yaml(text)
    return yaml.safe_load(text)


def read_yaml(file: Path) -> Any:
    """Plain values of a YAML file within the limits.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: naming file and reason.
    """
    try:
        if file.stat().st_size > 4 * MAX_CHARACTERS:
            raise TooLarge(f"a configuration has at most {MAX_CHARACTERS} characters: is it the right file?")
        return parse_yaml(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DamagedFileError(f"{file} is not YAML: {' '.join(str(error).split())}") from error


def _leaf(event: yaml.NodeEvent, sizes: dict[str, int]) -> tuple[str | None, int]:
    """Anchor and number of values of a scalar or an alias."""
    if isinstance(event, yaml.ScalarEvent):
        if not event.style and len(event.value) > MAX_WORD:
            raise TooLarge(f"text of more than {MAX_WORD} characters needs quotes, got {event.value[:20]}…")
        if event.value.count(".") > MAX_DEPTH and re.fullmatch(r"[\w.+]+", event.value):  # a.b is b within a
            raise TooLarge(f"a name has at most {MAX_DEPTH} parts, got {event.value[:20]}…")
        return event.anchor, 1
    if event.anchor not in sizes:
        raise TooLarge(f"alias *{event.anchor} stands for something that it is a part of, or that is not there")
    return None, sizes[event.anchor]
