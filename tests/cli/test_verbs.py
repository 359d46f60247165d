from __future__ import annotations

import pytest

from vdmfewshot.cli.verbs import VERBS, Verb, find_verb, table


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_can_be_called_and_says_what_it_does(verb: Verb) -> None:
    assert callable(verb.load())
    assert find_verb(verb.name) is verb
    assert f"  {verb.name} " in table()
    assert verb.line in table()


def test_names_are_unique_and_lines_fit_a_terminal() -> None:
    assert len({verb.name for verb in VERBS}) == len(VERBS)
    assert max(map(len, table().splitlines())) <= 80
    assert find_verb("adpat") is None
