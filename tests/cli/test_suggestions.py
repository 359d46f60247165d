"""What the parser says of mistakes that the front cannot judge: here the front is left out."""

from __future__ import annotations

import pytest

from vdmfewshot.cli.command import FewShotCLI, make_cli

DATA = ["--data", "PairsDataModule", "--data.root", "x"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data.shotz", "3"], "unknown 'shotz'; did you mean shots?"),
        (["--data.shots", "many"], "data.shots must be int or null, got many"),
        (["--data.transition", "fade"], "data.transition must be one of 'discrete', "),
        (["--model.lora.rank", "a"], "model.lora.rank must be int"),
        (["--model.backbone", "CogVideo"], "unknown 'CogVideo'; did you mean CogVideoX?"),
        (["--trainer.max_stps", "3"], "unknown 'trainer.max_stps'; did you mean max_steps?"),
        (["--model.optimizer", "SGD", "--model.optimizer.lrr", "3"], "unknown 'lrr'"),
    ],
)
def test_errors_are_one_sentence_in_words_of_the_user(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        make_cli(["fit", *DATA, *words], FewShotCLI)
    assert stop.value.code == 2
    error, see, *rest = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {told}")
    assert see == "see: vdmfewshot fit --help"
    assert not rest
    assert not {"NestedArg", "Union", "Namespace"} & set(error.replace("(", " ").split())
