"""The page in a real browser: five pairs, five steps, an answer, downloads; and that nothing leaves the machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

import vdmfewshot as vdm

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: for a loaded machine, in milliseconds
PATIENCE = 240_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the app makes its temporary folder."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(files: Path) -> Iterator[str]:
    """The app as a person starts it; its folder of files is gone when it has ended."""
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "vdmfewshot", "app", "--no_browser"]
    environment = {**os.environ, "TMPDIR": str(files), "NO_PROXY": "*"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", app.stdout.readline())
        assert found is not None
        yield found.group()
        app.send_signal(signal.SIGTERM)
        assert app.wait(60) == 128 + signal.SIGTERM
    assert list(files.glob("vdmfewshot*")) == []


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=240_000)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any, address: str) -> Iterator[Any]:
    with chromium.new_context(viewport={"width": 1100, "height": 1400}) as context:
        yield open_tab(context, address)


def open_tab(context: Any, address: str) -> Any:
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.requested, tab.problems = set(), []
    tab.on("request", lambda request: tab.requested.add(request.url))
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.goto(address)
    tab.wait_for_selector("#have .note")
    return tab


def sessions(files: Path) -> set[Path]:
    return set(files.glob("vdmfewshot-app-*/session-*"))


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def drop(tab: Any, where: str, files: list[Path]) -> None:
    tab.set_input_files(f"#{where} input[type=file]", [str(file) for file in files])


def download(tab: Any, what: str, folder: Path) -> zipfile.ZipFile:
    tab.wait_for_selector(f"#download-{what}:not([disabled])")
    with tab.expect_download() as started:
        tab.click(f"#download-{what}")
    started.value.save_as(folder / f"{what}.zip")
    return zipfile.ZipFile(folder / f"{what}.zip")


def test_from_five_pairs_to_answers_and_an_adapter(tab: Any, discs: Path, tmp_path: Path) -> None:
    drop(tab, "pictures", [discs / f"p{i}.png" for i in range(5)])
    tab.wait_for_selector("#have figure:nth-child(5)")
    assert "no target yet" in tab.inner_text("#have")
    drop(tab, "targets", [discs / f"p{i}_mask.png" for i in range(5)])
    tab.wait_for_function("document.querySelectorAll('#have img').length == 10")
    tab.fill("#steps input[type=number]", "5")
    tab.press("#steps input[type=number]", "Tab")
    tab.click("#adapt")
    tab.wait_for_selector("#state progress")
    tab.wait_for_selector("#held img")
    tab.wait_for_selector("text=5 of 5 steps, done")
    assert "iou" in tab.inner_text("#state")
    assert "left out, after 5 steps" in tab.inner_text("#held")
    command = tab.inner_text("#command .cm-content")
    assert command.startswith("vdmfewshot fit --model embedded --data PairsDataModule --data.root=pairs")
    assert "--trainer.max_steps=5" in command

    drop(tab, "queries", [discs / "p5.png"])
    tab.wait_for_selector("#answers img")
    if folder := os.environ.get("VDMFEWSHOT_SCREENSHOTS"):
        tab.screenshot(path=str(Path(folder) / "app.png"), full_page=True)
    with download(tab, "answers", tmp_path) as packed:
        mask = cv2.imdecode(np.frombuffer(packed.read("answers/p5.png"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (64, 64)
    truth = cv2.imread(str(discs / "p5_mask.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask & truth).sum() > 0.5 * (mask | truth).sum()
    download(tab, "adapter", tmp_path).extractall(tmp_path)
    adapted = vdm.load(tmp_path / "adapter")
    assert (adapted.predict(discs / "p5.png") == (mask > 127)).all()
    assert "pairs/input/p0.png" in download(tab, "pairs", tmp_path).namelist()
    assert {urlsplit(url).hostname for url in tab.requested if url.startswith("http")} == {"127.0.0.1"}
    assert tab.problems == []


def test_masks_are_painted_and_two_people_do_not_see_each_other(
    chromium: Any, tab: Any, address: str, files: Path, discs: Path, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "p0.png"), cv2.imread(str(discs / "p0.png"))[:40])
    drop(tab, "pictures", [tmp_path / "p0.png"])
    tab.wait_for_selector("#have figure")
    tab.click("text=Paint a mask")
    canvas = tab.wait_for_selector("#editor canvas")
    tab.wait_for_timeout(1500)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x - 60, y)
    tab.mouse.down()
    tab.mouse.move(x + 60, y, steps=20)
    tab.mouse.up()
    if folder := os.environ.get("VDMFEWSHOT_SCREENSHOTS"):
        tab.screenshot(path=str(Path(folder) / "paint.png"), full_page=True)
    tab.click("text=Keep this mask")
    tab.wait_for_function("document.querySelectorAll('#have img').length == 2")
    with download(tab, "pairs", tmp_path) as packed:
        mask = cv2.imdecode(np.frombuffer(packed.read("pairs/target/p0.png"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (40, 64)  # the canvas is a square, whose middle is row 32
    rows, columns = np.nonzero(mask)
    assert 28 <= rows.mean() <= 36
    assert np.ptp(columns) > 3 * np.ptp(rows) > 0

    drawn = tab.get_attribute("#have figure img:nth-child(2)", "src")
    tab.fill("#choice input", "p0")
    tab.press("#choice input", "Enter")
    tab.wait_for_timeout(3000)
    tab.click("text=Keep this mask")
    tab.wait_for_timeout(3000)
    assert tab.inner_text("#wrong") == ""
    assert tab.get_attribute("#have figure img:nth-child(2)", "src") == drawn
    before = sessions(files)
    with chromium.new_context() as context:
        other = open_tab(context, address)
        assert "No pictures yet" in other.inner_text("#have")
        wait_until(lambda: len(sessions(files) - before) == 1)
    wait_until(lambda: not sessions(files) - before)  # who leaves leaves nothing behind


def test_a_port_that_is_taken_is_said_so(address: str) -> None:
    command = [sys.executable, "-m", "vdmfewshot", "app", "--no_browser", "--port", str(urlsplit(address).port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE / 1000)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: port ")
    assert "Traceback" not in done.stderr


def test_bad_uploads_are_explained_and_a_long_run_is_cancelled(tab: Any, discs: Path, tmp_path: Path) -> None:
    tab.click("#adapt")
    tab.wait_for_selector("#state [role=alert]")
    assert "no picture has a target yet" in tab.inner_text("#state")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    drop(tab, "pictures", [tmp_path / "bad.png", discs / "p0.png"])
    tab.wait_for_selector("#wrong [role=alert]")
    assert tab.inner_text("#wrong").startswith("bad.png: not a picture, or a damaged header")
    drop(tab, "targets", [discs / "p0_mask.png"])
    tab.wait_for_function("document.querySelectorAll('#have img').length == 2")
    tab.fill("#steps input[type=number]", "1000")
    tab.press("#steps input[type=number]", "Tab")
    tab.click("#adapt")
    tab.wait_for_selector("text=/[1-9][0-9]* of 1000 steps, adapting/")
    tab.click("#cancel")
    tab.wait_for_selector("text=/Cancelled after [0-9]+ of 1000 steps/")
