from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_checkpoint

# Nothing in the tests may reach a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("WANDB_MODE", "disabled")


@pytest.fixture(scope="session", autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CogVideoX 1.5 checkpoint: 32 px, 9 frames."""
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "cogvideox-1.5")
