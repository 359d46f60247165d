"""What a configuration may name: nothing else is imported, so that a file from elsewhere cannot run code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

#: where a configuration may take classes from: ours, Lightning's, and PyTorch's optimisers and schedulers
ALLOWED = ("vdmfewshot.", "lightning.", "torch.optim.")
#: keys whose value may be a class, given by its path alone
CLASS_KEYS = (
    *("class_path", "model", "data", "backbone", "optimizer", "lr_scheduler"),
    *("callbacks", "logger", "strategy", "plugins", "profiler"),
)
#: an import path, and not a file
IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
FILES = (".yaml", ".yml", ".json")


def class_paths(config: Any) -> Iterator[str]:
    """Every import path that a configuration, plain dictionaries and lists, gives where a class may stand."""
    if isinstance(config, dict):
        for key, value in config.items():
            # A trailing + appends to a list.
            named = str(key).rpartition(".")[2].removesuffix("+") in CLASS_KEYS
            for item in value if isinstance(value, list | tuple) else [value]:
                if named and isinstance(item, str) and IMPORT_PATH.fullmatch(item) and not item.endswith(FILES):
                    yield item
                else:
                    yield from class_paths(item)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from class_paths(value)


def check_classes(config: Any) -> None:
    """Refuse classes of other packages.

    Raises:
        ValueError: naming the class.
    """
    for path in class_paths(config):
        if not path.startswith(ALLOWED):
            raise ValueError(f"class_path must be of {', '.join(ALLOWED)}…, got {path!r}: not an allowed class")


def read_safely() -> None:
    """Check every file and value that jsonargparse reads as YAML before it imports a class that is named there.

    jsonargparse finds out whether a class is of the right kind by importing its module, which runs the module.
    """
    load = get_loader("yaml")

    def checked(text: str) -> Any:
        value = load(text)
        check_classes(value)
        return value

    set_loader("yaml", checked, (yaml.YAMLError,))
