"""YAML of other people is read within limits, whoever reads it: studies, sweeps, exports, configurations of runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.test_limits import BOMB
from vdmfewshot.cli.pages.runs import read_settings
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.formats import yolo
from vdmfewshot.storage.errors import DamagedFileError
from vdmfewshot.storage.limited_yaml import MAX_CHARACTERS, parse_yaml, read_yaml
from vdmfewshot.studies.settings import read_study
from vdmfewshot.studies.sweep import read_sweep

HOSTILE = {
    "bomb": BOMB.encode(),
    "part of itself": b"a: &a [*a]",
    "no text": b"\xff\xfe\x00a",
    "no yaml": b"a: [",
    "an object": b"a: !!python/object/apply:os.system [touch canary]",
    "long": b"#" * (5 * MAX_CHARACTERS),
}


def test_plain_values_come_back() -> None:
    assert parse_yaml("a: &a [1, 2.5, null]\nb: {c: *a, d: 'x'}") == {
        "a": [1, 2.5, None],
        "b": {"c": [1, 2.5, None], "d": "x"},
    }


def test_a_missing_file_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize("content", HOSTILE.values(), ids=list(HOSTILE))
def test_every_reader_names_the_file(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data.yaml"
    file.write_bytes(content)
    for read in (read_yaml, lambda file: read_study(file, {}), read_sweep):
        with pytest.raises(DamagedFileError, match=r"data\.yaml is not YAML: ") as caught:
            read(file)
        assert len(str(caught.value)) < 1000
    with pytest.raises(DataError, match=r"data\.yaml is not YAML: "):
        yolo.read_yolo(tmp_path)
    assert read_settings(file) == {}, "a page over runs goes on without"
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.yaml"], "no canary"


def test_what_jsonargparse_could_not_build_is_never_built() -> None:
    """The loader behind the limits is the safe one."""
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        parse_yaml("!!python/name:os.system")
