"""The last report is shown again only while another one would say the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.evidence.shown import FILES, SHOWN, inputs, recall, remember

TEXT = "above by far\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a report that was just written."""
    for name in ("out/units/ab/a.json", "own/input/a.png", "weights/config.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("a")
    settings = Settings(
        tasks=[f"pairs:{tmp_path / 'own'}"], out=str(tmp_path / "out"), backbone=str(tmp_path / "weights")
    )
    before = inputs(settings)
    for name in FILES:
        (tmp_path / "out" / name).write_text("report")
    remember(settings, before, TEXT)
    return settings


def test_nothing_has_changed(settings: Settings) -> None:
    assert recall(settings) == TEXT


@pytest.mark.parametrize("changed", ["out/units/ab/b.json", "own/input/b.png", "weights/b.json", "out/table.md"])
def test_a_file_has_changed(changed: str, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / changed).write_text("another")
    assert recall(settings) is None


def test_other_settings_are_another_report(settings: Settings) -> None:
    assert recall(replace(settings, steps=7)) is None


def test_what_changed_while_the_report_was_written_makes_it_out_of_date(settings: Settings, tmp_path: Path) -> None:
    before = inputs(settings)
    (tmp_path / "out/units/ab/b.json").write_text("of another process")
    remember(settings, before, TEXT)
    assert recall(settings) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_note_is_none(content: str, settings: Settings) -> None:
    (Path(settings.out) / SHOWN).write_text(content)
    assert recall(settings) is None
