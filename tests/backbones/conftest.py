from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_wan import VARIANTS, tiny_wan


@pytest.fixture(scope="session")
def wan_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random Wan checkpoint of every kind, and one with the other scheduler."""
    root = tmp_path_factory.mktemp("wan")
    folders = {variant: tiny_wan(root / variant, variant) for variant in VARIANTS}
    folders["2.1-i2v-14b euler"] = tiny_wan(root / "euler", "2.1-i2v-14b", euler=True)
    return folders
