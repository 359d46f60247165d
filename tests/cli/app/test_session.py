"""What a visitor's session does, without a page."""

from __future__ import annotations

import shlex
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import vdmfewshot as vdm
from vdmfewshot.cli.app import adaptation
from vdmfewshot.cli.app.session import Session, Sessions
from vdmfewshot.cli.command import main

SIZE = {"height": 32, "width": 32}


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    sessions = Sessions(tmp_path / "app", SIZE)
    sessions.root.mkdir()
    yield sessions
    sessions.close_all()


@pytest.fixture
def session(sessions: Sessions) -> Session:
    return sessions.of("one")


def uploads(folder: Path, place: Path, pattern: str) -> list[Path]:
    """Copies, as a browser leaves them."""
    place.mkdir(exist_ok=True)
    return [Path(shutil.copy(file, place)) for file in sorted(folder.glob(pattern))]


def fill(session: Session, discs: Path, tmp_path: Path, numbers: str = "01234") -> None:
    assert session.add_pictures(uploads(discs, tmp_path / "up", f"p[{numbers}].png")) == []
    assert session.add_targets(uploads(discs, tmp_path / "up", f"p[{numbers}]_mask.png")) == []


def test_uploads_are_moved_into_the_visitors_folder_and_matched_by_name(
    session: Session, discs: Path, tmp_path: Path
) -> None:
    fill(session, discs, tmp_path)
    assert list((tmp_path / "up").iterdir()) == []
    assert sorted(session.targets) == ["p0", "p1", "p2", "p3", "p4"]
    assert all(session.folder in file.parents for pair in session.pairs() for file in pair)
    assert session.folder.stat().st_mode & 0o077 == 0


def test_bad_uploads_are_named_as_the_command_line_names_them_and_the_others_stay(
    session: Session, discs: Path, tmp_path: Path
) -> None:
    files = uploads(discs, tmp_path / "up", "p[01].png")
    (tmp_path / "up/bad.png").write_bytes(b"no picture")
    (tmp_path / "up/empty.png").touch()
    told = session.add_pictures([*files, tmp_path / "up/bad.png", tmp_path / "up/empty.png"])
    assert told[0].startswith("bad.png: not a picture, or a damaged header")
    assert told[1] == "empty.png: the file is empty (0 bytes)"
    assert sorted(session.inputs) == ["p0", "p1"]
    (again,) = session.add_pictures(uploads(discs, tmp_path / "up", "p0.png"))
    assert "this name already" in again
    (alone,) = session.add_targets(uploads(discs, tmp_path / "up", "p5_mask.png"))
    assert alone == "p5_mask.png: no picture has this name; there are p0, p1"


def test_a_painted_mask_has_the_pictures_size_and_replaces_the_one_before(
    session: Session, discs: Path, tmp_path: Path
) -> None:
    fill(session, discs, tmp_path, "0")
    canvas = np.zeros((512, 512), bool)
    canvas[:256] = True
    session.paint("p0", canvas)
    mask = cv2.imread(str(session.targets["p0"]), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (64, 64)
    assert (mask[:32] == 255).all()
    assert (mask[32:] == 0).all()
    session.remove("p0")
    assert [file for file in session.folder.rglob("*") if file.is_file()] == []


def test_masks_are_painted_on_turned_photos_as_they_are_seen(session: Session, tmp_path: Path) -> None:
    photo = Image.new("RGB", (40, 60), "red")
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.jpg", exif=exif)
    assert session.add_pictures([tmp_path / "turned.jpg"]) == []
    session.paint("turned", np.ones((341, 512), bool))
    sizes = [cv2.imread(str(file), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION).shape[:2] for file in
             (session.inputs["turned"], session.targets["turned"])]  # fmt: skip
    assert sizes == [(40, 60)] * 2


def test_what_cannot_be_done_yet_is_said(session: Session, discs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no picture has a target yet"):
        session.adapt("mask", "embedded", 1, held=True)
    with pytest.raises(ValueError, match="nothing is adapted yet"):
        session.answer([discs / "p0.png"])
    with pytest.raises(ValueError, match="no answers yet"):
        session.zipped("answers")
    fill(session, discs, tmp_path, "01")
    (session.folder / "pairs/target/p1.png").write_bytes((discs / "p1.png").read_bytes())
    job = session.adapt("mask", "embedded", 1, held=True)
    job.join()
    assert "p1.png" in job.failure
    assert str(session.folder) not in job.failure
    assert "a mask has black and one other colour" in job.failure


def test_adapting_answers_and_the_command_line_that_does_the_same(
    session: Session, discs: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(session, discs, tmp_path)
    job = session.adapt("mask", vdm.CogVideoX(str(tiny)), 3, held=True)
    job.join()
    assert job.failure == ""
    assert job.step == 3
    assert job.picture is not None
    assert job.picture.is_file()
    assert 0 <= job.scores["iou_dataset"] <= 1
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"(?s)bad\.png: not a picture") as refused:
        session.answer([bad])
    assert str(tmp_path) not in str(refused.value)
    (answer,) = session.answer(uploads(discs, tmp_path / "up", "p5.png"))
    assert answer.drawn.shape == answer.picture.shape == (64, 64, 3)
    names = zipfile.ZipFile(session.zipped("answers")).namelist()
    assert "answers/p5.png" in names
    with zipfile.ZipFile(session.zipped("adapter")) as packed:
        packed.extractall(tmp_path / "taken")
    loaded = vdm.load(tmp_path / "taken/adapter", accelerator="cpu")
    assert (loaded.predict(discs / "p5.png") == (answer.drawn[..., 0] > 127)).all()

    with zipfile.ZipFile(session.zipped("pairs")) as packed:
        packed.extractall(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    words = shlex.split(session.command())[1:]
    words[words.index("--model") + 1] = "embedded"
    same = main([*words, f"--model.backbone.path={tiny}", "--name", "same"])
    assert same.trainer.global_step == 3
    assert len(same.datamodule.support) == 4


def test_cancelling_ends_a_run_between_two_steps(session: Session, discs: Path, tiny: Path, tmp_path: Path) -> None:
    fill(session, discs, tmp_path)
    job = session.adapt("mask", vdm.CogVideoX(str(tiny)), 100_000, held=False)
    while job.step < 1 and job.is_alive():
        job.join(0.05)
    session.cancel()
    assert job.failure == "cancelled"
    assert 0 < job.step < 100_000
    assert not adaptation.DEVICE.locked()


def test_who_waits_for_the_device_can_leave(session: Session, discs: Path, tmp_path: Path) -> None:
    fill(session, discs, tmp_path, "0")
    with adaptation.DEVICE:
        job = session.adapt("mask", "embedded", 5, held=False)
        assert job.phase.startswith("waiting")
        session.cancel()
    assert (job.failure, job.step) == ("cancelled", 0)


def test_two_visitors_do_not_see_each_other_and_nothing_is_left(
    sessions: Sessions, discs: Path, tmp_path: Path
) -> None:
    one, two = sessions.of("one"), sessions.of("two")
    fill(one, discs, tmp_path)
    assert two.inputs == {}
    assert one.folder != two.folder
    copies = sessions.root / "gradio/abc"
    copies.mkdir(parents=True)
    (copies / "p0.png").touch()
    sessions.close("one")
    assert not one.folder.exists()
    assert two.folder.exists()
    sessions.close("two")
    assert list(sessions.root.rglob("*")) == [sessions.root / "gradio"]


def test_an_error_of_a_program_is_not_shown_to_people(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    caught: list[Any] = []
    thread = threading.Thread(target=lambda: caught.append(_raised(fail)))
    thread.start()
    thread.join()
    told = adaptation.told(caught[0], session.folder)
    assert "mat1" not in told
    assert "RuntimeError" in told
    assert "mat1" in caplog.text


def _raised(function: Any) -> BaseException:
    try:
        function()
    except RuntimeError as error:
        return error
    raise AssertionError
