from __future__ import annotations

import json

import pytest

from vdmfewshot.cli import write_schema
from vdmfewshot.cli.help import describe, first_sentences, verb_help
from vdmfewshot.cli.schema import FILE, Schema, schema
from vdmfewshot.cli.verbs import VERBS

COMMAND = "python -m vdmfewshot.cli.write_schema"


def test_the_schema_is_that_of_the_live_parsers() -> None:
    if not schema().fits_libraries():
        pytest.skip("made with other releases of the libraries: options are then left to the parser")
    fresh = json.dumps(write_schema.build(), indent=1, ensure_ascii=False) + "\n"
    assert fresh == FILE.read_text(encoding="utf-8"), f"options, defaults or help have changed; run: {COMMAND}"


def test_other_releases_of_the_libraries_are_noticed() -> None:
    assert not Schema({}, {}, {**schema().versions, "lightning": "1.0"}).fits_libraries()


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_help_in_whole_sentences(verb: object) -> None:
    short = verb_help(verb, "", schema())  # type: ignore[arg-type]
    everything = verb_help(verb, "all", schema())  # type: ignore[arg-type]
    assert short.strip()
    assert schema().verbs[verb.name].text or len(short.splitlines()) <= 60  # type: ignore[attr-defined]
    assert len(everything) >= len(short)
    for option in schema().verbs[verb.name].options.values():  # type: ignore[attr-defined]
        told = describe(option)
        assert told.count("(") == told.count(")"), told
        assert f"--{option.name}" in everything, option.name


def test_texts_end_where_a_sentence_ends() -> None:
    text = "Sizes (F, H, W. Or less) count. More follows."
    assert first_sentences(text, 1) == "Sizes (F, H, W. Or less) count."
    assert first_sentences("No full stop", 1) == "No full stop."
    for cls in schema().classes.values():
        for option in cls.options.values():
            assert describe(option).endswith((".", ")", "]")), (cls.name, option.name)
