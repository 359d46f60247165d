from __future__ import annotations

from pathlib import Path

import pytest

from vdmfewshot.storage.documents import MAX_BYTES, NUMBER, misfit, read_json, read_object
from vdmfewshot.storage.errors import DamagedFileError


def test_what_is_whole_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"name": "ü", "n": 3, "more": [1.5, null]}', encoding="utf-8")
    assert read_object(file, {"name": str, "n": NUMBER}, "") == {"name": "ü", "n": 3, "more": [1.5, None]}


BROKEN = [b"", b"{", b'{"a": NaN}', b'{"a": -Infinity}', b"\xff\xfe", b"[" * 100_000, b'{"a": 1} x', b"\x00" * 50]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_json_names_file_and_remedy(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"a\.json cannot be read as JSON \(.+\); copy it again"):
        read_json(tmp_path / "a.json", "copy it again")


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(DamagedFileError, match="over 256 MB"):
        read_json(tmp_path / "a.json", "")


def test_a_missing_file_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "a.json", "")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "it holds no object but list"),
        ({"a": 1}, "b is missing"),
        ({"a": True, "b": ""}, "a is bool, not int or float"),
        ({"a": "1", "b": ""}, "a is str, not int or float"),
        ({"a": 1, "b": None}, "b is NoneType, not str"),
        ({"a": 1.5, "b": "", "c": 0}, ""),
    ],
)
def test_types_are_checked(content: object, problem: str) -> None:
    assert misfit(content, {"a": NUMBER, "b": str}) == problem
