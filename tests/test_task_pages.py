"""Every task of the papers has a page with its picture, and the pages say what their sources say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
DRAWN: dict[str, Any] = runpy.run_path(str(ROOT / "scripts/draw_tasks.py"))
PAGES: dict[str, tuple[str, list[str]]] = DRAWN["pages"]()


def test_every_task_is_on_one_page() -> None:
    shown = [task for _, tasks in PAGES.values() for task in tasks]
    assert sorted([*shown, *DRAWN["ARC"]]) == sorted(DRAWN["FILES"])


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_current(page: str) -> None:
    assert (ROOT / f"docs/tasks/{page}.md").read_text(encoding="utf-8") == DRAWN["written"](page)
    for task in PAGES[page][1]:
        assert Image.open(ROOT / f"docs/tasks/{task}.png").size == (658, 326)


def test_a_picture_is_what_the_script_draws() -> None:
    assert DRAWN["picture"]("life").quantize(64).convert("RGB").tobytes() == (
        Image.open(ROOT / "docs/tasks/life.png").convert("RGB").tobytes()
    )
