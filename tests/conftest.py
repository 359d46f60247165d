from __future__ import annotations

import os

# Nothing in the tests may reach a network; the libraries read this when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("WANDB_MODE", "disabled")

from pathlib import Path

import pytest

from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CogVideoX 1.5 checkpoint: 32 px, 9 frames."""
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "cogvideox-1.5")
