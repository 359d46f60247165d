"""What ``import vdmfewshot`` promises."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vdmfewshot as vdm

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "lightning", "diffusers", "numpy")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, vdmfewshot; dir(vdmfewshot); print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", vdm.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(vdm)
    assert getattr(vdm, name) is getattr(vdm, name)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'adopt'; it has .*adapt"):
        vdm.adopt  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert vdm.__version__ == project["version"]
    assert vdm.__version__.removesuffix(".dev0") in (ROOT / "CHANGELOG.md").read_text()
