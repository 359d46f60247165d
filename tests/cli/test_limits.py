"""YAML that is small on disk and endless in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from vdmfewshot.cli.command import main
from vdmfewshot.cli.errors import Mistake
from vdmfewshot.storage.limited_yaml import MAX_CHARACTERS, TooLarge, check_yaml

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
)
HOSTILE = {
    "alias bomb": (BOMB, "at most 100000 values, those of its aliases included"),
    "merge keys": ("a: &a {x: 1}\n" + "b: {<<: *b}", r"alias \*b stands for"),
    "part of itself": ("trainer: &t {callbacks: [*t]}", "something that it is a part of"),
    "deep": ("a: " + "[" * 500 + "]" * 500, "at most 40 deep"),
    "deeper than the parser goes": ("a: " + "[" * 400_000, "exceeded maximum nesting depth"),
    "longer than an integer can be": ("trainer: {max_steps: " + "9" * 5000 + "}", "more than 4000 characters needs"),
    "base 60": ("trainer: {max_steps: " + ":".join(["59"] * 100_000) + "}", "more than 4000 characters needs quotes"),
    "a name that nests": ("? '" + "a." * 100_000 + "a'\n: 1", "a name has at most 40 parts"),
    "ten megabytes": ("# nothing\n" * 1_000_000, f"at most {MAX_CHARACTERS} characters, got 10000000"),
}


@pytest.mark.parametrize(("text", "rule"), HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_files_are_refused_at_once(text: str, rule: str, tmp_path: Path) -> None:
    with pytest.raises(yaml.YAMLError, match=rule):
        check_yaml(text)
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(Mistake, match=f"is no configuration: .*{rule}") as caught:
        main(["fit", "-c", str(tmp_path / "c.yaml")])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(("text", "rule"), HOSTILE.values(), ids=list(HOSTILE))
def test_the_parser_itself_refuses_them_too(text: str, rule: str) -> None:
    """For values within values, and where the front leaves everything to the parser."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=int)
    with pytest.raises(Exception, match=rule):
        parser.parse_string(text)


def test_a_bomb_within_a_value_that_should_be_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    """jsonargparse reads texts once more where it expects a number, and writes what it found into the message."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--number", type=int)
    with pytest.raises(Exception, match="Expected a") as caught:
        parser.parse_object({"number": BOMB})
    assert len(str(caught.value)) < 10_000


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"trainer: {max_steps: \xff}")
    with pytest.raises(ValueError, match="is no configuration: 'utf-8' codec"):
        main(["fit", "-c", str(tmp_path / "c.yaml")])


def test_aliases_that_people_write_are_read() -> None:
    text = "a: &a {x: 1, y: [1, 2]}\nb: *a\nc: {<<: *a, z: 3}\nd: &d text\ne: *d\n"
    check_yaml(text)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=dict)
    assert parser.parse_args([f"--it={text}"]).it["c"] == {"x": 1, "y": [1, 2], "z": 3}


def test_sizes_count_what_aliases_stand_for() -> None:
    """9 levels of ten are ten times too many, whether or not anything is built."""
    four = "\n".join(BOMB.splitlines()[:4])
    check_yaml(four)
    with pytest.raises(TooLarge, match="values"):
        check_yaml("\n".join(BOMB.splitlines()[:5]))


def test_every_shipped_file_is_far_within_the_limits() -> None:
    files = sorted((Path(__file__).parents[2] / "experiments").rglob("*.yaml"))
    assert len(files) > 20
    for file in files:
        text = file.read_text(encoding="utf-8")
        check_yaml(text)
        assert len(text) < MAX_CHARACTERS / 100
