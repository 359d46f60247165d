"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside ``file``: what the block writes there is flushed to disk and then takes its name, in one step.

    If the block fails, ``file`` stays as it was and nothing is left. Permissions are those of any new file, so that
    results in a shared folder can be read by others.

    Args:
        file: to be replaced or made, with its folder.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{uuid4().hex}.tmp")
    try:
        yield draft
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
