"""XML of labelling tools, without the parts of XML that can harm."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, fromstring

from vdmfewshot.data.examples import DataError
from vdmfewshot.data.files import read_text


def beginning(path: Path) -> str:
    """The first letters of a file, in whichever encoding; empty if it cannot be read."""
    try:
        return read_text(path)[:500]
    except (OSError, ValueError):
        return ""


def read_xml(path: Path) -> Element:
    """Root element of a file.

    Raises:
        DataError: if it is no XML, or declares entities, with which a small file could fill the memory.
    """
    try:
        text = path.read_bytes()
        if any(word in text.replace(b"\0", b"") for word in (b"<!ENTITY", b"<!DOCTYPE")):  # UTF-16, too
            raise ValueError("it declares entities")
        return fromstring(text)
    except (OSError, ValueError, ParseError) as error:
        raise DataError([f"{path}: not readable as XML ({error})"]) from error


def text_of(element: Element | None, name: str) -> str:
    """Text of a child; empty if there is none."""
    return (element.findtext(name) or "").strip() if element is not None else ""


def number_of(element: Element | None, name: str) -> float:
    """A child's text as a number.

    Raises:
        ValueError: if it is none.
    """
    return as_number(text_of(element, name), name)


def as_number(text: str | None, name: str) -> float:
    """A text as a finite number.

    Raises:
        ValueError: naming what should be one.
    """
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e12:
        raise ValueError(f"{name} is not a number")
    return value
