"""Files below a folder, as people keep them: behind links, beside clutter, in the text of any editor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

#: clutter that file managers leave behind
IGNORED = {"thumbs.db", "desktop.ini", "__macosx"}
#: how UTF-16 begins, in which PowerShell and Notepad save
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def files_below(folder: Path, suffix: str = "") -> list[Path]:
    """Files of a folder and its sub-folders in name order, links to folders included; no hidden ones and no clutter.

    Args:
        folder: where to look.
        suffix: which files, ``.json``, in any case; all if not given. Links to nothing are among them.
    """
    return sorted(file for file in _walk(folder) if file.name.lower().endswith(suffix))


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not _is_clutter(name)]
        yield from (Path(place, name) for name in names if not _is_clutter(name))


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED


def read_text(file: Path) -> str:
    """Text in UTF-8 or, with a byte-order mark, UTF-16.

    Raises:
        ValueError: naming the file if it is something else.
        OSError: if it cannot be read.
    """
    content = file.read_bytes()
    try:
        return content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: no text in UTF-8; save it in that encoding") from error
