"""Results on disk appear whole, once, and are never mixed."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from vdmfewshot.studies.store import Failure, Store

UNIT = "0123456789abcdef"


def draft(store: Store, content: str) -> Path:
    folder = store.scratch() / UNIT
    folder.mkdir()
    (folder / "records.jsonl").write_text(content)
    return folder


def test_an_attempt_that_finishes_late_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    late = draft(store, "late\n")
    assert store.publish(UNIT, draft(store, "first\n"), {"score": 1.0})
    before = {path: path.read_bytes() for path in store.place(UNIT).iterdir()}
    assert not store.publish(UNIT, late, {"score": 0.0})
    assert {path: path.read_bytes() for path in store.place(UNIT).iterdir()} == before
    assert not late.exists()


def test_a_half_result_is_not_visible(tmp_path: Path) -> None:
    """Killed at any moment of publishing: only a folder under its name, with DONE in it, is a result."""
    store = Store(tmp_path)
    half = draft(store, "content\n")
    (half / "DONE").write_text(json.dumps({"id": UNIT, "files": {}}))
    assert store.finished([UNIT]) == {}
    place = store.place(UNIT)
    place.mkdir(parents=True)
    (place / "records.jsonl").write_text("content\n")
    assert store.finished([UNIT]) == {}
    (place / "DONE").write_text('{"id": "0123456789abcd')
    assert store.finished([UNIT]) == {}
    assert store.publish(UNIT, draft(store, "whole\n"), {"score": 1.0}), "it does not stand in the way either"
    assert (place / "records.jsonl").read_text() == "whole\n"
    assert store.finished([UNIT])[UNIT]["score"] == 1.0


def test_changed_content_is_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.publish(UNIT, draft(store, "abc\n"), {})
    assert store.intact(UNIT)
    (store.place(UNIT) / "records.jsonl").write_text("abd\n")
    assert not store.intact(UNIT)
    store.set_aside(UNIT)
    assert store.finished([UNIT]) == {}


def test_a_unit_that_has_a_result_has_not_failed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.fail(UNIT, Failure("crash", "died", 2))
    assert store.failures() == {UNIT: Failure("crash", "died", 2)}
    store.publish(UNIT, draft(store, "abc\n"), {})
    assert store.failures() == {}
    store.fail(UNIT, Failure("crash", "presumed dead", 3))
    assert store.failures() == {}


def test_signs_of_life_end_with_their_process(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.claimed([UNIT]):
        assert list(store.running()) == [UNIT]
    assert not list((tmp_path / "running").iterdir())
    left = tmp_path / "running" / f"{socket.gethostname()}-999999999-abc"
    left.write_text(UNIT)
    assert store.running() == {}
    store.sweep()
    assert not left.exists()


def test_drafts_of_dead_processes_are_removed(tmp_path: Path) -> None:
    store, host = Store(tmp_path), socket.gethostname()
    mine = store.scratch()
    dead = tmp_path / "scratch" / f"{host}-999999999-abc"
    dead.mkdir()
    (dead / "file").touch()
    store.sweep()
    assert mine.is_dir()
    assert not dead.exists()
