"""The page in a real browser, and the tables beside it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.pages.conftest import ARC_TASK, NASTY
from vdmfewshot.cli.pages import pictures
from vdmfewshot.cli.report import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    report([str(runs), "--html", str(file)])
    return file


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=240_000)
        tab = chromium.new_page()
        tab.set_default_timeout(240_000)  # ms; a page of megabytes on a busy machine
        tab.problems = []
        tab.on("console", lambda message: tab.problems.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: tab.problems.append(str(error)))
        tab.on("request", lambda request: tab.problems.append(request.url) if request.url.startswith("http") else None)
        tab.goto(page.as_uri())
        yield tab
        chromium.close()


def shown(tab: Any) -> list[str]:
    return [card.get_attribute("data-key") for card in tab.query_selector_all(".card:not(.hidden)")]


def test_the_page_stands_alone_and_is_small(page: Path) -> None:
    text = page.read_text()
    assert len(text) < 20_000_000
    assert NASTY not in text
    assert text.count("data:image/webp") > 3 * 12


def test_a_script_in_a_name_stays_text_and_nothing_fails_or_is_fetched(browser: Any) -> None:
    assert browser.title() == "vdmfewshot report"
    assert NASTY in browser.inner_text("#leaderboard + div")
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.wait_for_timeout(300)
    assert browser.problems == []


def test_filters_and_search(browser: Any) -> None:
    assert len(shown(browser)) == 3 * 12 + 1
    browser.select_option("#kind", "failed")
    assert shown(browser) == ["query-11"] * 3
    browser.select_option("#kind", "correct")
    assert f"{ARC_TASK}-test-0" in shown(browser)
    browser.select_option("#kind", "")
    browser.fill("#words", "query-03")
    assert shown(browser) == ["query-03"] * 3
    assert "3 of 37" in browser.inner_text("#count")
    browser.fill("#words", "")


def test_order_and_sorted_columns(browser: Any) -> None:
    browser.select_option("#order", "worst")
    scores = [float(c.get_attribute("data-score")) for c in browser.query_selector_all("#run-2 .card")]
    assert scores == sorted(scores)
    browser.click("th button:text-is('score')")
    column = [float(cell.inner_text()) for cell in browser.query_selector_all("#leaderboard + div td:nth-child(4)")]
    assert column == sorted(column)


def test_every_picture_has_a_text_and_shows(browser: Any) -> None:
    images = browser.query_selector_all("img")
    assert images
    assert all(image.get_attribute("alt") for image in images)
    browser.wait_for_function("[...document.images].every(i => i.loading === 'lazy' || i.naturalWidth > 0)")


def test_curves_comparisons_and_arc_boards(page: Path, browser: Any) -> None:
    assert browser.locator("h2", has_text="Score against number of pairs").count() == 1
    assert browser.locator("summary", has_text="paired bootstrap").count() == 3
    board = browser.locator(".card", has_text=f"{ARC_TASK}-test-0")
    assert board.locator("img[alt^='output of demonstration']").count() >= 2
    assert board.locator("img[alt='attempt 2']").count() == 1


def test_pictures_are_left_out_rather_than_the_page_too_large(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures.Album.__init__, "__defaults__", (3000,))
    report([str(runs), "--html", str(tmp_path / "small.html")])
    assert "pictures left out" in capsys.readouterr().out


def test_tables(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report([str(runs), "--json", str(tmp_path / "t.json"), "--csv", str(tmp_path / "sub/t.csv"), "--markdown", "-"])
    rows = json.loads((tmp_path / "t.json").read_text())
    assert [row["shots"] for row in rows if row["metric"] == "iou_dataset"] == [1, 16, 4]
    read = list(csv.DictReader(io.StringIO((tmp_path / "sub/t.csv").read_text())))
    assert [row["run"] for row in read] == [row["run"] for row in rows]
    out = capsys.readouterr().out
    assert out.count("\n") >= 2 + 4
    assert "| iou_dataset |" in out


def test_a_table_never_holds_a_formula(runs: Path) -> None:
    from vdmfewshot.cli.pages.tables import _inert

    assert _inert("=1+1") == "'=1+1"
    assert _inert(-1.5) == -1.5
