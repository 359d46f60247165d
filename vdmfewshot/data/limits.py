"""Limits of settings."""

from __future__ import annotations

from typing import TypeVar

Number = TypeVar("Number", int, int | None)


def at_least(name: str, value: Number, minimum: int) -> Number:
    """The value, if it is ``None`` or at least ``minimum``.

    Raises:
        ValueError: naming setting, limit and value.
    """
    if value is not None and value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return value
