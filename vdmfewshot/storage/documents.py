"""JSON files read strictly: what is damaged is named, with what to do about it, and never half understood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from vdmfewshot.storage.errors import DamagedFileError

#: no JSON of ours is longer
MAX_BYTES = 256 << 20
#: what numbers may be
NUMBER = (int, float)

Kind = type | tuple[type, ...]


def read_json(file: Path, remedy: str) -> Any:
    """The content of a JSON file in UTF-8, without NaN and Infinity, which Python would accept.

    Args:
        file: to be read.
        remedy: what to do if it is damaged: "run the test again".

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: naming file, reason and remedy.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"over {MAX_BYTES >> 20} MB")
        return parse_json(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{file} cannot be read as JSON ({error}); {remedy}") from error


def parse_json(text: str, finite: bool = True) -> Any:
    """One JSON value.

    Args:
        text: of the value.
        finite: whether NaN and Infinity are refused; else who reads the numbers must check them.

    Raises:
        ValueError: if it is none.
    """
    try:
        return json.loads(text, parse_constant=_refuse if finite else None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def plain(value: Any) -> Any:
    """A value as a reader of the JSON written of it would get it: lists, objects with text as keys, plain scalars.

    Raises:
        ValueError: if it holds NaN or Infinity.
    """
    return parse_json(json.dumps(value, default=str, allow_nan=False))


def read_object(file: Path, fields: Mapping[str, Kind], remedy: str) -> dict[str, Any]:
    """A JSON object that has these fields, of these types; others are left alone.

    Args:
        file: to be read.
        fields: type or types by name; ``bool`` is no number.
        remedy: what to do if it is damaged.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: naming file, reason and remedy.
    """
    content = read_json(file, remedy)
    problem = misfit(content, fields)
    if problem:
        raise damaged(file, problem, remedy)
    found: dict[str, Any] = content
    return found


def damaged(file: Path, problem: object, remedy: str) -> DamagedFileError:
    """The error for a file that can be read, but does not hold what it should."""
    return DamagedFileError(f"{file} is damaged or of another version ({problem}); {remedy}")


def misfit(content: Any, fields: Mapping[str, Kind]) -> str:
    """Why a value is no object with these fields; empty if it is one."""
    if not isinstance(content, dict):
        return f"it holds no object but {type(content).__name__}"
    for name, kinds in fields.items():
        if name not in content:
            return f"{name} is missing"
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        value = content[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            return f"{name} is {type(value).__name__}, not {' or '.join(kind.__name__ for kind in kinds)}"
    return ""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a legal number")
