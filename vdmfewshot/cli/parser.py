"""Lightning's parser with errors in words, and with shipped configurations by name in files as on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from vdmfewshot.cli.fragments import included
from vdmfewshot.cli.suggestions import SuggestingParser
from vdmfewshot.storage.limited_yaml import parse_yaml


class FewShotParser(SuggestingParser, LightningArgumentParser):
    """``LightningArgumentParser`` whose errors are one sentence, and whose files may say ``data: nuclei``."""

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a configuration, which lies in the working folder if it is a file."""
        return super().parse_string(with_files(content), *args, **kwargs)


def with_files(content: str) -> str:
    """A configuration with the files that its names stand for; itself if there are none, or if it is none."""
    try:
        settings = parse_yaml(content)
    except yaml.YAMLError:
        return content
    if not isinstance(settings, dict):
        return content
    found = {key: str(file) for key, value in settings.items() if (file := included(key, value, Path()))}
    return yaml.safe_dump({**settings, **found}, sort_keys=False) if found else content
