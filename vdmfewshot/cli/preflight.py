"""Files and folders that a run is to read: those that are missing are named before the libraries are imported."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vdmfewshot.cli.errors import PACKAGE, Mistake, did_you_mean

#: options that are the path of a file or folder, or ``sample:NAME``
DATA = ("data.root", "data.images", "data.annotations", "data.test_images", "data.test_annotations")
SAMPLE = "sample:"
SAMPLES = PACKAGE / "data" / "samples"
#: a checkpoint or adapter of a hub, which may be anywhere
HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+")
EMBEDDED, UNTRAINED, LAST = "embedded", "untrained", "last"


class MissingError(Mistake, FileNotFoundError):
    """What is to be read is not there."""


def require_files(values: Mapping[str, Any]) -> None:
    """Refuse a run that cannot find what it is to read.

    Args:
        values: settings by name, as typed or as files have them.

    Raises:
        Mistake: naming option and path, and what resembles it.
    """
    given = {key: value for key, value in values.items() if isinstance(value, str) and value}
    hub = given.get("data.format") == "hf" and HUB.fullmatch(given.get("data.root", "")) is not None
    for key in DATA:
        if key in given and not (hub and key == "data.root"):
            _require_data(key, given[key])
    weights = given.get("model.backbone.path", EMBEDDED)
    if weights != EMBEDDED and not Path(weights).is_dir() and not HUB.fullmatch(weights):
        near = did_you_mean(weights, [EMBEDDED])
        raise Mistake(f"--model.backbone.path {weights}: neither {EMBEDDED}, a folder, nor OWNER/NAME of a hub{near}")
    adapter = given.get("model.adapter", UNTRAINED)
    if adapter not in (UNTRAINED, "null") and not _may_be_elsewhere(adapter):
        _require(adapter, f"no adapter at {adapter}")
    checkpoint = Path(given.get("ckpt_path", LAST))
    if checkpoint.suffix == ".ckpt" and not any(checkpoint.parent.glob(f"*{glob.escape(checkpoint.name)}")):
        _require(str(checkpoint), f"no checkpoint at {checkpoint}")  # nor its predecessor


def _require_data(key: str, value: str) -> None:
    if value.startswith(SAMPLE):
        if not (SAMPLES / value.removeprefix(SAMPLE)).exists():
            names = [folder.name for folder in SAMPLES.iterdir() if folder.is_dir()]
            near = did_you_mean(value.removeprefix(SAMPLE), names, SAMPLE, otherwise=True)
            raise Mistake(f"--{key} {value}: there is no such sample{near}")
    elif value != "null":
        place = _require(value, f"--{key} {value}: there is no such file or folder")
        if place.is_dir() and next(place.iterdir(), None) is None:
            raise Mistake(f"--{key} {value}: the folder is empty")


def _require(value: str, problem: str) -> Path:
    place = Path(value).expanduser()
    if not place.exists():
        beside = [other.name for other in place.parent.iterdir()] if place.parent.is_dir() else []
        near = did_you_mean(place.name, beside, f"{place.parent}/".removeprefix("./"))
        raise MissingError(f"{problem}{'' if place.is_absolute() else f' (looked from {Path.cwd()})'}{near}")
    return place


def _may_be_elsewhere(value: str) -> bool:
    return ":" in value or HUB.fullmatch(value) is not None
