from __future__ import annotations

import itertools

import pytest

from vdmfewshot.cli.arguments import in_order, join, short_name, split


def ordered(line: str) -> str:
    return " ".join(join(in_order(split(line.split()))))


def test_words_are_grouped_as_typed() -> None:
    words = [
        "-c",
        "a.yaml",
        "--data.init_args.shots=3",
        "--trainer.max_steps",
        "-1",
        "--print_config",
        "--x.class_path",
        "Y",
    ]
    found = split(words)
    assert [(a.name, a.value) for a in found] == [
        ("config", "a.yaml"), ("data.shots", "3"), ("trainer.max_steps", "-1"), ("print_config", None), ("x", "Y"),
    ]  # fmt: skip
    assert join(found) == words
    assert short_name("model.init_args.backbone.class_path") == "model.backbone"


PARTS = ("--data PairsDataModule", "--data.target mask", "--data.root x")


@pytest.mark.parametrize("parts", list(itertools.permutations(PARTS)))
def test_the_order_of_a_class_and_its_options_does_not_matter(parts: tuple[str, ...]) -> None:
    found = ordered(" ".join(parts))
    assert found.startswith("--data PairsDataModule ")
    assert sorted(found.split()) == sorted(" ".join(PARTS).split())


def test_nested_classes_come_before_their_options() -> None:
    line = "--model.backbone.path p --model.backbone CogVideoX --model.lora.rank 4 --model FewShotModule"
    assert ordered(line) == (
        "--model FewShotModule --model.backbone CogVideoX --model.backbone.path p --model.lora.rank 4"
    )


def test_options_before_all_files_come_after_them() -> None:
    assert ordered("--data.shots 3 -c a -c b --name n") == "-c a -c b --data.shots 3 --name n"


@pytest.mark.parametrize(
    "line",
    [
        "-c a --model=x.yaml -c overlay",  # the overlay changes the model
        "--data A --data.x 1 --data B",  # the second replaces the first
        "--trainer.callbacks+=A --trainer.callbacks.x 1 --trainer.callbacks+=B --trainer.callbacks.x 2",
        "--data.shots 3 --name n",
    ],
)  # fmt: skip
def test_what_has_a_meaning_of_its_own_stays_where_it_is(line: str) -> None:
    assert ordered(line) == line
