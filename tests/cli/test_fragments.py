from __future__ import annotations

from pathlib import Path

import pytest

from vdmfewshot.cli.arguments import join, split
from vdmfewshot.cli.errors import Mistake
from vdmfewshot.cli.fragments import KINDS, OPTIONS, experiments, fragments, included, listing, resolve, summary


def resolved(*words: str) -> list[str]:
    return join(resolve(argument, ["PairsDataModule"]) for argument in split(words))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_shipped_configuration_is_found_by_name_from_anywhere(option: str) -> None:
    for name, file in fragments(OPTIONS[option]).items():
        flag = "-c" if option == "config" else f"--{option}"
        assert resolved(flag, name) == [flag, str(file)]
        assert resolved(f"--{option}={name}") == [f"--{option}", str(file)]


def test_paths_classes_and_options_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("{}")
    for words in (["-c", "mine.yaml"], ["--data", "PairsDataModule"], ["--name", "nuclei"], ["--model.lora.rank", "4"]):
        assert resolved(*words) == words
    assert resolved("--data", "vdmfewshot.data.pairs.PairsDataModule")[1].endswith("PairsDataModule")
    assert resolved("--data={root: x}") == ["--data={root: x}"]


def test_names_are_unique_over_the_folders_of_an_option() -> None:
    for folders in OPTIONS.values():
        names = [name for folder in folders for name in fragments([folder])]
        assert len(set(names)) == len(names)


def test_paths_of_the_readme_are_found_without_a_checkout() -> None:
    assert resolved("-c", "tasks/hitori") == ["-c", str(experiments() / "tasks" / "hitori.yaml")]
    assert resolved("--model=experiments/model/embedded-random.yaml") == [
        "--model", str(experiments() / "model" / "embedded-random.yaml"),
    ]  # fmt: skip


def test_unknown_names_list_what_there_is_or_name_the_nearest() -> None:
    with pytest.raises(Mistake, match=r"--data nucle: .*did you mean nuclei\?$"):
        resolved("--data", "nucle")
    with pytest.raises(Mistake, match=r"(?s)no such file or name\nshipped: arc, .*\nclasses: PairsDataModule"):
        resolved("--data", "qqqq")
    with pytest.raises(Mistake, match=r"-c a/qqqq\.yaml: there is no such file$"):
        resolved("-c", "a/qqqq.yaml")
    with pytest.raises(Mistake, match=r"-c experiments/nuclie\.yaml: there is no such file; did you mean nuclei\?$"):
        resolved("-c", "experiments/nuclie.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_every_shipped_configuration_says_what_it_is(kind: str) -> None:
    folders, option = KINDS[kind]
    text = listing([kind])
    for name, file in fragments(folders).items():
        assert summary(file), file
        assert f"  {name}" in text
    assert f"{option} NAME" in text
    assert max(map(len, text.splitlines())) <= 80


def test_names_in_files_are_those_of_the_command_line(tmp_path: Path) -> None:
    for option, value in (("data", "nuclei"), ("model", "ltx-video-2b"), ("trainer", "gpu"), ("data", "person-masks")):
        assert str(included(option, value, tmp_path)) == resolved(f"--{option}", value)[1]
    assert included("data", "experiments/data/cells.yaml", tmp_path) == experiments() / "data" / "cells.yaml"
    for option, value in (("name", "nuclei"), ("config", "nuclei"), ("data", "PairsDataModule"), ("data", 3)):
        assert included(option, value, tmp_path) is None


def test_a_file_beside_is_meant_before_a_shipped_one_of_the_same_path(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert included("data", "data/nuclei.yaml", tmp_path) is None
    (tmp_path / "data" / "nuclei.yaml").write_text("{}")
    assert included("data", "data/nuclei.yaml", tmp_path) == tmp_path / "data" / "nuclei.yaml"
