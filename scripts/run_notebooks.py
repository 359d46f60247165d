"""Run the notebooks and store them with their outputs: ``python scripts/run_notebooks.py [NAME ...]``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]


def main(names: list[str]) -> None:
    """Run each in a kernel of its own; times are not kept, so that equal outputs are equal files."""
    (ROOT / "build").mkdir(exist_ok=True)
    os.environ |= {
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore:IProgress not found",
    }  # the bar of notebooks is not stored
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if names and file.stem not in names:
            continue
        book, start = nbformat.read(file, as_version=4), time.perf_counter()
        NotebookClient(book, timeout=1800, kernel_name="python3", record_timing=False).execute(cwd=str(ROOT / "build"))
        nbformat.write(book, file)
        print(f"{file.stem}: {time.perf_counter() - start:.0f} s, {file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
