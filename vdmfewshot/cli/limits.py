"""The limits of YAML hold wherever jsonargparse reads some, too."""

from __future__ import annotations

from typing import Any

from vdmfewshot.storage.limited_yaml import check_yaml


def limit_yaml() -> None:
    """Check whatever jsonargparse parses as YAML, be it a file, a value, or a text within a value.

    Its public ``set_loader`` is passed by where numbers are expected, so that the check sits in the loader class.
    """
    from jsonargparse._loaders_dumpers import get_yaml_default_loader  # half a second, which the front does without

    loader: Any = get_yaml_default_loader()
    if getattr(loader, "limited", False):
        return
    begin = loader.__init__

    def limited(self: Any, stream: Any) -> None:
        check_yaml(stream if isinstance(stream, str) else stream.read())
        begin(self, stream)

    loader.__init__, loader.limited = limited, True
