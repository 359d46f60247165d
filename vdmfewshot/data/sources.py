"""Where data lie: the user's own paths, and the samples that ship with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from vdmfewshot.data.examples import DataError

#: prefix of paths into ``vdmfewshot/data/samples``
SAMPLE = "sample:"


def resolve(path: str) -> Path:
    """A path, or ``sample:<name>[/...]`` for the data that ship with the package.

    Raises:
        DataError: naming the path that does not exist, or the samples that do.
    """
    if path.startswith(SAMPLE):
        samples = Path(str(files("vdmfewshot.data").joinpath("samples")))
        found = samples / path.removeprefix(SAMPLE)
        if not found.exists() or not found.resolve().is_relative_to(samples.resolve()):
            names = sorted(f.name for f in samples.iterdir() if f.is_dir())
            raise DataError([f"{path}: no such sample; there are {', '.join(SAMPLE + name for name in names)}"])
        return found
    found = Path(path).expanduser()
    if not found.exists():
        raise DataError([f"{found}: no such file or folder (looked from {Path.cwd()})"])
    return found
