"""Missing files are named before anything is imported; what may lie elsewhere is left to those who look there."""

from __future__ import annotations

from pathlib import Path

import pytest

from vdmfewshot.cli.errors import Mistake
from vdmfewshot.cli.preflight import SAMPLES, require_files


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs" / "input").mkdir(parents=True)
    (tmp_path / "previous-last.ckpt").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.root", "pairs"),
        *(("data.root", f"sample:{folder.name}") for folder in SAMPLES.iterdir() if folder.is_dir()),
        ("data.images", None),
        ("data.test_images", "null"),
        ("model.backbone.path", "embedded"),
        ("model.backbone.path", "pairs"),
        ("model.backbone.path", "owner/name"),
        ("model.adapter", "untrained"),
        ("model.adapter", "owner/name"),
        ("model.adapter", "hub:owner/name"),
        ("ckpt_path", "last"),
        ("ckpt_path", "last.ckpt"),  # its predecessor is there
    ],
)
def test_what_is_there_or_may_be_elsewhere_is_left_alone(name: str, value: str | None) -> None:
    require_files({name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "data.root",
            "pears",
            r"--data\.root pears: there is no such file or folder \(looked from .*did you mean pairs\?",
        ),
        ("data.root", "pairs/input", r"--data\.root pairs/input: the folder is empty"),
        ("data.annotations", "a.json", r"--data\.annotations a\.json: there is no such file or folder"),
        ("data.root", "sample:nothing", r"there is no such sample; there are sample:cells"),
        ("model.backbone.path", "no model", "neither embedded, a folder, nor OWNER/NAME of a hub"),
        ("model.adapter", "./adapter", r"no adapter at \./adapter"),
        ("ckpt_path", "pairs/last.ckpt", "no checkpoint at pairs/last.ckpt"),
    ],
)
def test_what_is_missing_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(Mistake, match=message):
        require_files({name: value})


def test_a_missing_file_is_also_what_python_calls_it() -> None:
    with pytest.raises(FileNotFoundError):
        require_files({"data.root": "pears"})


def test_data_of_the_hub_may_be_elsewhere() -> None:
    require_files({"data.root": "owner/name", "data.format": "hf"})
    with pytest.raises(Mistake, match="no such file or folder"):
        require_files({"data.root": "owner/name", "data.format": "auto"})
