"""Where an adapter lies: in a folder, or on the Hub, from where it is copied and checked before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vdmfewshot.lora.adapters import DIFFUSERS_FILE, MANIFEST_FILE, REMEDY, Manifest, read_adapter
from vdmfewshot.storage.documents import NUMBER, parse_json, read_object
from vdmfewshot.storage.errors import DamagedFileError
from vdmfewshot.storage.hub import PREFIX, HubError, download, hub_name

CONFIG_FILE = "adapter_config.json"
#: what is read of a repository, whatever else it holds: no file that could run code
READ = (DIFFUSERS_FILE, MANIFEST_FILE, CONFIG_FILE)
#: what peft scales and places matrices by
CHECKED = ("r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora")


def locate(adapter: str | Path) -> Path:
    """The folder of an adapter.

    Args:
        adapter: a folder, or ``hf:owner/name`` or ``hf:owner/name@revision`` for one on the Hub, of which weights,
            manifest and config are copied to the Hub's cache.

    Raises:
        HubError: if the Hub has no such adapter, or cannot be reached and there is no copy.
        ValueError: if what it has is damaged.
    """
    text = str(adapter)
    if not text.startswith(PREFIX):
        return Path(adapter)
    name = hub_name(text)
    folder = download(name, READ)
    if not (folder / DIFFUSERS_FILE).is_file():
        raise HubError(f"{name} holds no adapter: {DIFFUSERS_FILE} is missing")
    try:
        check_whole(folder)
    except ValueError as error:
        raise HubError(f"{name} is not what was pushed: {error}") from error
    return folder


def check_whole(folder: Path) -> Manifest | None:
    """Compare an adapter with its checksum, and its config with the one that the weights carry.

    Returns:
        its manifest; ``None`` for one made elsewhere.

    Raises:
        FileNotFoundError: if there is no adapter.
        ValueError: if they differ, or if a file cannot be read.
    """
    _, manifest = read_adapter(folder)
    if (folder / CONFIG_FILE).is_file():
        config = read_object(folder / CONFIG_FILE, {"r": int, "lora_alpha": NUMBER}, REMEDY)
        carried = carried_config(folder / DIFFUSERS_FILE)
        for key in CHECKED:
            if key in carried and carried[key] != config.get(key):
                raise DamagedFileError(
                    f"{folder / CONFIG_FILE} says {key}={config.get(key)!r}, but the weights beside it were saved with "
                    f"{carried[key]!r}; {REMEDY}"
                )
    return manifest


def carried_config(file: Path) -> dict[str, Any]:
    """The ``LoraConfig`` in the header of weights that diffusers has written; empty if there is none.

    Raises:
        DamagedFileError: if the file is no safetensors file, or its header no JSON.
    """
    try:
        with safe_open(file, "pt") as stream:
            header = stream.metadata() or {}
        carried = parse_json(header.get("lora_adapter_metadata", "{}"))
    except (SafetensorError, ValueError) as error:
        raise DamagedFileError(f"{file} is not a readable safetensors file: {error}; {REMEDY}") from error
    if not isinstance(carried, dict):
        raise DamagedFileError(f"the header of {file} holds no configuration but {type(carried).__name__}; {REMEDY}")
    return {key.partition(".")[2]: value for key, value in carried.items()}
