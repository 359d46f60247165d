"""A saved configuration says what the run was told."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from vdmfewshot.callbacks.config import dump


def parser() -> ArgumentParser:
    parser = ArgumentParser()
    parser.add_argument("--tasks", type=list[str])
    parser.add_argument("--lr", type=float)
    return parser


@given(
    st.lists(st.from_regex(r"[0-9]{1,7}e[0-9]{1,2}|[0-9a-f]{8}", fullmatch=True), min_size=1), st.floats(1e-20, 1e20)
)
def test_names_that_look_like_numbers_come_back_as_names(tasks: list[str], lr: float) -> None:
    saved = parser().dump(parser().parse_object({"tasks": tasks, "lr": lr}))
    again = parser().parse_string(saved)
    assert (again.tasks, again.lr) == (tasks, lr)


def test_other_readers_of_yaml_agree() -> None:
    content = {"task": "20818e16", "lr": 1e-3, "steps": 100, "name": "zoom", "none": None, "umlaut": "ä"}
    assert yaml.safe_load(dump(content)) == content
    assert "task: '20818e16'" in dump(content)
