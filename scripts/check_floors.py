"""Install the lowest versions that pyproject.toml allows, in an environment of their own, and run the fast tests.

    python scripts/check_floors.py
    python scripts/check_floors.py --folder build/floors tests/storage tests/lora

Needs uv (pip install uv), which knows how to resolve downwards. The lowest torch on PyPI for Linux comes with CUDA
libraries: some 4 GB are fetched the first time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: everything but what judges the text of the project: newer tools have other opinions
CORE = (
    *("tests/storage", "tests/clips", "tests/codecs", "tests/metrics", "tests/data", "tests/backbones", "tests/lora"),
    *("tests/training", "tests/callbacks", "tests/budget", "tests/studies", "tests/cli", "tests/test_api.py"),
)


def install(folder: Path) -> Path:
    """Make the environment if it is not there; returns its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    lowest = ["--resolution", "lowest-direct", "--python", str(python), "-e", f"{ROOT}[dev]"]
    subprocess.run(["uv", "pip", "install", *lowest], check=True)
    return python


def main() -> None:
    """Install, say what was installed, test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "floors", help="of the environment")
    parser.add_argument("tests", nargs="*", default=list(CORE))
    args = parser.parse_args()
    python = install(args.folder)
    subprocess.run(["uv", "pip", "list", "--python", str(python)], check=True)
    # Old libraries warn of what newer Pythons will remove; that is not what is tested here.
    tests = [str(python), "-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider", *args.tests]
    raise SystemExit(subprocess.run(tests, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode)


if __name__ == "__main__":
    main()
