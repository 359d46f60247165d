"""Estimates between runs: the same numbers without counting again, and counting again where they cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.budget.cost import Cost
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training import estimate as module
from vdmfewshot.training import remembered

CLIP = (9, 32, 32)


@pytest.fixture
def counted(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Cost]:
    """Estimates that were counted since; one, of rank 4, has been kept on disk and is forgotten by this process."""
    found: list[Cost] = []
    count = module._estimate

    def noted(*args: Any) -> Cost:
        found.append(count(*args))
        return found[-1]

    monkeypatch.setattr(module, "_estimate", noted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_estimates", {})
    estimate(tiny, 4)
    assert len(found) == 1
    module._estimates.clear()
    return found


def estimate(tiny: Path, rank: int) -> Cost:
    return module.estimate(CogVideoX(str(tiny)), CLIP, 2, LoraArgs(rank=rank))


def test_another_process_counts_nothing_again(tiny: Path, counted: list[Cost]) -> None:
    assert estimate(tiny, 4) == counted[0]
    assert len(counted) == 1


def test_other_settings_are_counted(tiny: Path, counted: list[Cost]) -> None:
    assert estimate(tiny, 8).total.trainable > counted[0].total.trainable


def test_another_release_counts_again(tiny: Path, counted: list[Cost], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "release", lambda: "9.9")
    estimate(tiny, 4)
    assert len(counted) == 2


@pytest.mark.parametrize("content", ["", "{}", '{"total": {}}', "[1]"])
def test_a_damaged_entry_is_made_again(content: str, tiny: Path, counted: list[Cost], tmp_path: Path) -> None:
    (file,) = tmp_path.rglob("estimates/*.json")
    whole = file.read_text()
    file.write_text(content)
    assert estimate(tiny, 4) == counted[0]
    assert (len(counted), file.read_text()) == (2, whole)


def test_an_entry_that_lacks_a_part_is_made_again(tiny: Path, counted: list[Cost], tmp_path: Path) -> None:
    (file,) = tmp_path.rglob("estimates/*.json")
    file.write_text(file.read_text().replace('"backward"', '"forwards"'))
    assert estimate(tiny, 4) == counted[0]


def test_a_disk_that_takes_nothing_is_no_error(
    tiny: Path, counted: list[Cost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert estimate(tiny, 4) == counted[0]
