"""What answers without the libraries: each of these runs in one process, which must not import them."""

from __future__ import annotations

import pytest

from tests.cli import instant
from tests.cli.test_report import write_scores
from vdmfewshot import __version__
from vdmfewshot.cli import front
from vdmfewshot.cli.errors import Mistake
from vdmfewshot.cli.verbs import VERBS, find_verb

LIGHTNING_VERBS = ("adapt", "fit", "validate", "test", "predict")
#: command lines, and a word of what they answer
INSTANT = {
    "": "Verbs:",
    "--help": "vdmfewshot adapt -c nuclei",
    "--version": __version__,
    **{f"{verb.name} --help": "vdmfewshot" for verb in VERBS},
    "adapt --help all": "--trainer.gradient_clip_val",
    "adapt --help Scorer": "save_images",
    "adapt --data.help ArcDataModule": "--data.task",
    "list models": "ltx-video-2b",
    "report runs": "version_0",
    "report nowhere": "no such folder: nowhere",
    "study status -c nowhere.yaml": "nowhere.yaml: there is no such file",
    "adpat": "did you mean adapt?",
    "adapt": "there are no data",
    "adapt -c nowhere.yaml": "there is no such file",
    "adapt -c nulcei": "did you mean nuclei?",
    "adapt --data nulcei": "did you mean nuclei?",
    "adapt -c misspelt.yaml": "misspelt.yaml: data: there is no name or class nulcei; did you mean nuclei?",
    "adapt --data PairsDataModule --data.root nowhere": "--data.root nowhere: there is no such file or folder",
    "adapt --data PairsDataModule --data.root run": "did you mean runs?",
    "adapt --data PairsDataModule --data.root empty": "--data.root empty: the folder is empty",
    "inspect --data PairsDataModule --data.root nowhere": "--data.root nowhere: there is no such file or folder",
    "fit -c nuclei --data.root sample:nucle": "there is no such sample; did you mean sample:nuclei?",
    "fit -c nuclei --model.backbone.path embeded": "did you mean embedded?",
    "test -c nuclei --model.adapter runs/a/version_0/adapter": "no adapter at runs/a/version_0/adapter",
    "fit -c nuclei --ckpt_path runs/last.ckpt": "no checkpoint at runs/last.ckpt",
    "adapt --model ltx-video-2c": "did you mean ltx-video-2b?",
    "adapt -c nuclei --data.shotz 3": "did you mean --data.shots?",
    "adapt -c nuclei --data.shots many": "--data.shots must be a whole number",
    "fleet -c arc-fleet --stak 3": "did you mean --stack?",
    "evidence -c evidence --seds [1]": "did you mean --seeds?",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[str]]]:
    folder = tmp_path_factory.mktemp("front")
    write_scores(folder / "runs" / "a" / "version_0", 1, 0.5)
    (folder / "empty").mkdir()
    (folder / "misspelt.yaml").write_text("data: nulcei\nmodel: embedded\n")
    told = instant.answers([line.split() for line in INSTANT], folder)
    return dict(zip(INSTANT, told, strict=True))


@pytest.mark.parametrize("line", INSTANT)
def test_is_answered_without_importing_the_libraries(line: str, answers: dict[str, tuple[str, list[str]]]) -> None:
    text, heavy = answers[line]
    assert INSTANT[line] in text
    assert "Traceback" not in text
    assert not heavy


def test_a_mistake_is_one_message_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        front.run(["fit", "-c", "nuclei", "--trainer.max_stps", "3"])
    assert stop.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "error: unknown option --trainer.max_stps; did you mean --trainer.max_steps?",
        "see: vdmfewshot fit --help",
    ]


def test_the_verb_comes_first() -> None:
    with pytest.raises(Mistake, match=r"a verb comes first: vdmfewshot adapt -c nuclei"):
        front.main(["-c", "nuclei"])


@pytest.mark.parametrize("verb", LIGHTNING_VERBS)
def test_a_run_says_first_what_it_does(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    loaded = find_verb(verb)
    assert loaded is not None
    monkeypatch.setattr(type(loaded), "load", lambda self: lambda args: said.append(capsys.readouterr().err))
    front.run([verb, "-c", "nuclei", "--data.shots", "3", "--trainer.max_steps", "7"])
    (before,) = said
    assert before.startswith(f"{verb}: MaskFolder sample:nuclei, embedded")
    assert ("7 steps" in before) == (verb in ("adapt", "fit"))


def test_a_switch_needs_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(type(VERBS[0]), "load", lambda self: lambda args: given.append(list(args)))
    front.run(["evidence", "-c", "evidence", "--report_only"])
    assert given[0][-2:] == ["--report_only", "true"]


def test_a_printed_configuration_stands_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(type(VERBS[0]), "load", lambda self: lambda args: None)
    front.run(["adapt", "-c", "nuclei", "--print_config"])
    assert capsys.readouterr() == ("", "")
