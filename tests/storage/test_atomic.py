"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vdmfewshot.storage.atomic import replacing


def test_the_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    file = tmp_path / "new" / "scores.json"
    for text in ("first", "second"):
        with replacing(file) as draft:
            draft.write_text(text)
            assert not file.exists() or file.read_text() == "first"
        assert file.read_text() == text
    assert list(file.parent.iterdir()) == [file]


def write_half(file: Path) -> None:
    file.write_text("half")
    raise RuntimeError("half way")


def test_a_failure_leaves_the_previous_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    file.write_text("previous")
    with pytest.raises(RuntimeError, match="half way"), replacing(file) as draft:
        write_half(draft)
    assert file.read_text() == "previous"
    assert list(tmp_path.iterdir()) == [file]


def test_others_may_read_what_they_may_read_of_any_new_file(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with replacing(tmp_path / "scores.json") as draft:
            draft.write_text("{}")
    finally:
        os.umask(mask)
    assert (tmp_path / "scores.json").stat().st_mode & 0o777 == 0o640
