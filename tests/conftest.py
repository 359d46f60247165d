from __future__ import annotations

import os

# Nothing in the tests may reach a network; the libraries read this when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("WANDB_MODE", "disabled")

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import tiny_checkpoint
from vdmfewshot.studies.group import RANKED, free_port

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the caches of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _checkout_stays_as_it_was() -> Iterator[None]:
    """A test writes into folders of its own: what it leaves beside the package is somebody's surprise."""
    before = set(os.listdir(CHECKOUT))
    yield
    left = {name for name in set(os.listdir(CHECKOUT)) - before if not name.startswith(".")}
    assert not left, f"the test has left {', '.join(sorted(left))} in the checkout"


@pytest.fixture(autouse=True)
def no_rank_is_left() -> Iterator[None]:
    """Lightning tells a process by its environment that it is one of many; the next test would wait for the others."""
    yield
    for name in RANKED:
        os.environ.pop(name, None)


@pytest.fixture
def meeting_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ranks meet: below the ports that the system gives away, so that nobody takes it before they listen.

    Lightning picks one seconds before, which a test beside this one may then have.
    """
    monkeypatch.setenv("MASTER_PORT", str(free_port()))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CogVideoX 1.5 checkpoint: 32 px, 9 frames."""
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "cogvideox-1.5")


@pytest.fixture(scope="session")
def pairs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six 32 px pictures and their mirror images: input/p0.png … target/p5.png."""
    root = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for folder in ("input", "target"):
        (root / folder).mkdir()
    for i in range(6):
        image = np.kron(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(image).save(root / "input" / f"p{i}.png")
        Image.fromarray(image[:, ::-1]).save(root / "target" / f"p{i}.png")
    return root
