"""The last report: shown again at once, without any heavy library, while nothing that it depends on has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from vdmfewshot import __version__
from vdmfewshot.storage.atomic import replacing
from vdmfewshot.storage.documents import read_object
from vdmfewshot.storage.errors import DamagedFileError
from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.units import signatures

SHOWN = "shown.json"
#: what a report consists of
FILES = ("table.md", "table.csv", "table.json", "figure.png", "figure.svg")


def inputs(settings: Settings) -> dict[str, str]:
    """Signatures of what a report depends on: results, own folders of pairs, weights of one's own."""
    folders = [name.partition(":")[2] for name in settings.tasks if ":" in name]
    return signatures([Path(settings.out) / "units", Path(settings.backbone), *map(Path, folders)])


def remember(settings: Settings, before: Mapping[str, str], text: str) -> None:
    """Note what a report says.

    Args:
        settings: that it is about.
        before: ``inputs``, taken before they were read: what has changed since makes the report out of date.
        text: as printed.
    """
    content = {**_state(settings, before), "text": text}
    with replacing(Path(settings.out) / SHOWN) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def recall(settings: Settings) -> str | None:
    """What the last report said, if another one would say the same."""
    try:
        content = read_object(Path(settings.out) / SHOWN, {"text": str}, "it is written anew")
    except (OSError, DamagedFileError):
        return None
    text = str(content.pop("text"))
    return text if content == _state(settings, inputs(settings)) else None


def _state(settings: Settings, before: Mapping[str, str]) -> dict[str, object]:
    files = signatures(Path(settings.out) / name for name in FILES)
    return {"version": __version__, "settings": asdict(settings), "inputs": dict(before), "files": files}
