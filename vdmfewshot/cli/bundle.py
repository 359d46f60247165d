"""What is pushed of an adapter: its files, and of its run the scores, a picture and a config without private places."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from vdmfewshot.backbones.checkpoint import EMBEDDED
from vdmfewshot.cli.card import Told, model_card
from vdmfewshot.cli.errors import Mistake
from vdmfewshot.cli.pages.runs import read_scores
from vdmfewshot.lora.adapters import DIFFUSERS_FILE, MANIFEST_FILE, REMEDY, Manifest, check_state, read_adapter
from vdmfewshot.lora.comfyui import COMFYUI_FILE
from vdmfewshot.lora.export import PEFT_FILE
from vdmfewshot.lora.source import CONFIG_FILE, check_whole
from vdmfewshot.storage.documents import NUMBER, read_object
from vdmfewshot.storage.errors import writing
from vdmfewshot.storage.hub import HubError, HubName, hub_name
from vdmfewshot.storage.limited_yaml import read_yaml

VERB = "vdmfewshot push"
PICTURE = "pictures/test.png"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Choices:
    """What a person decides about a push.

    Attributes:
        name: repository and branch.
        license: name by which the Hub knows it.
        license_name: of one that is ``other``.
        license_link: of one that is ``other``.
        pictures: ``yes``, ``no``, or ``None`` for not said.
        private: whether only its owner sees the repository.
        base_model: on the Hub, of a model that was read from a folder.
    """

    name: HubName
    license: str
    license_name: str | None = None
    license_link: str | None = None
    pictures: str | None = None
    private: bool = False
    base_model: str | None = None


@dataclass(frozen=True)
class Tested:
    """The run that an adapter lies in.

    Attributes:
        folder: of the run.
        scores: content of its last ``scores.json`` of this task; ``None`` if it was not tested.
        picture: of that test, if drawn.
    """

    folder: Path
    scores: dict[str, Any] | None = None
    picture: Path | None = None


def write_bundle(adapter: Path, folder: Path, choices: Choices) -> dict[str, int]:
    """Check an adapter and write what is pushed of it.

    Args:
        adapter: its folder, as ``save_adapter`` writes it.
        folder: to write to; made.
        choices: of the person.

    Returns:
        Size in bytes of each file.

    Raises:
        Mistake: for an adapter that is not whole, or a decision that is missing.
        StorageError: if the folder cannot be written.
    """
    manifest = published(require_whole(adapter), choices.base_model)
    run = find_run(adapter, manifest.task)
    if run.picture is not None and choices.pictures is None and not choices.private:
        raise Mistake(
            f"the card can show {os.path.relpath(run.picture)}, which everybody could then see: say --pictures yes or "
            "--pictures no",
            VERB,
        )
    config = read_object(adapter / CONFIG_FILE, {"r": int, "lora_alpha": NUMBER}, REMEDY)
    settings = cleaned(run.folder / "config.yaml")
    shown = run.picture if choices.pictures != "no" else None
    with writing(folder):
        (folder / PICTURE).parent.mkdir(parents=True)
        for name in (DIFFUSERS_FILE, PEFT_FILE, COMFYUI_FILE):
            if (adapter / name).is_file():
                shutil.copyfile(adapter / name, folder / name)
        _write_json(folder / CONFIG_FILE, config | {"base_model_name_or_path": manifest.backbone["path"]})
        _write_json(folder / MANIFEST_FILE, asdict(manifest))
        if run.scores is not None:
            _write_json(folder / "scores.json", run.scores)
        if settings is not None:
            (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        shutil.copyfile(shown, folder / PICTURE) if shown is not None else (folder / PICTURE).parent.rmdir()
        told = Told(choices.name, manifest, config, run.scores, settings, PICTURE if shown is not None else None)
        license = {"license": choices.license, "name": choices.license_name, "link": choices.license_link}
        (folder / "README.md").write_text(model_card(told, license), encoding="utf-8")
    return {f.relative_to(folder).as_posix(): f.stat().st_size for f in sorted(folder.rglob("*")) if f.is_file()}


def require_whole(adapter: Path) -> Manifest:
    """An adapter of ours whose files agree with each other.

    Raises:
        Mistake: naming what does not.
    """
    try:
        manifest = check_whole(adapter)
        state, _ = read_adapter(adapter)
        check_state(state, state, str(adapter))
        peft = load_file(adapter / PEFT_FILE) if (adapter / PEFT_FILE).is_file() else {}
    except (ValueError, OSError) as error:
        raise Mistake(f"this adapter must not be shared: {error}", VERB) from error
    if manifest is None or not (adapter / CONFIG_FILE).is_file():
        missing = MANIFEST_FILE if manifest is None else CONFIG_FILE
        raise Mistake(f"{adapter} was not made by vdmfewshot, or is not whole: {missing} is missing", VERB)
    bare = {k.removeprefix("base_model.model."): v for k, v in peft.items()}
    if bare and (bare.keys() != state.keys() or not all(torch.equal(bare[k], v) for k, v in state.items())):
        raise Mistake(f"{adapter / PEFT_FILE} does not hold the weights of {DIFFUSERS_FILE}; {REMEDY}", VERB)
    return manifest


def published(manifest: Manifest, base_model: str | None) -> Manifest:
    """A manifest that names a model which others can have.

    Args:
        manifest: of the adapter.
        base_model: where the model is on the Hub, if its path is a folder.

    Raises:
        Mistake: if it is a folder and nothing was said, or the other way round.
    """
    path = str(manifest.backbone["path"])
    local = path != EMBEDDED and (not _HUB_ID.fullmatch(path) or Path(path).is_dir())
    if not local and base_model is not None and base_model != path:
        raise Mistake(f"the adapter belongs to {path!r}, not to --base_model {base_model}", VERB)
    if not local:
        return manifest
    if base_model is None:
        raise Mistake(
            f"the adapter belongs to a model in a folder of this machine, {path}; say which one of the Hub it is with "
            "--base_model owner/name (its fingerprint is compared when the adapter is loaded)",
            VERB,
        )
    try:
        return replace(manifest, backbone={**manifest.backbone, "path": hub_name(base_model).repo})
    except HubError as error:
        raise Mistake(f"--base_model: {error}", VERB) from error


def find_run(adapter: Path, task: str) -> Tested:
    """The run folder above an adapter, with its last test of this task."""
    place = adapter.absolute()
    run = next((p for p in (place.parent, place.parent.parent) if (p / "config.yaml").is_file()), place.parent)
    tests: list[tuple[int, Path, dict[str, Any]]] = []
    for file in run.glob("scores/test/**/step=*/scores.json"):
        step = file.parent.name.removeprefix("step=")
        content = read_scores(file)[0]
        if step.isdecimal() and content.get("task") == task:
            tests.append((int(step), file, content))
    if not tests:
        return Tested(run)
    _, file, content = max(tests, key=lambda test: test[0])
    picture = run / "pictures" / file.parent.relative_to(run / "scores").with_suffix(".png")
    return Tested(run, content, picture if picture.is_file() else None)


def cleaned(config: Path) -> dict[str, Any] | None:
    """A run's configuration without what is of this machine: loggers, and the folders above absolute paths.

    Returns:
        ``None`` if there is none that can be read.
    """
    try:
        content = read_yaml(config)
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    trainer = content.get("trainer")
    if isinstance(trainer, dict):
        content["trainer"] = {k: v for k, v in trainer.items() if k not in ("logger", "default_root_dir")}
    shortened: dict[str, Any] = _shortened(content)
    return shortened


def _shortened(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    if isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute()):
        return Path(value).name
    return value


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
