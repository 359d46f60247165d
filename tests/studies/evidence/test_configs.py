"""``experiments/evidence.yaml`` is what the issue of evidence asks for, and the rehearsal is a small part of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vdmfewshot.cli.command import main
from vdmfewshot.data.evidence import choose_tasks
from vdmfewshot.studies.evidence.settings import METHODS, Settings

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
FULL = yaml.safe_load((EXPERIMENTS / "evidence.yaml").read_text())
QUICK = yaml.safe_load((EXPERIMENTS / "evidence-quick.yaml").read_text())


def test_the_full_run_is_complete() -> None:
    settings = Settings(**FULL)
    assert settings.methods == list(METHODS)
    assert settings.shots == [1, 3, 5, 10, 30]
    assert len(settings.seeds) >= 5
    assert len({task.row for task in choose_tasks(settings.tasks)}) == 20


def test_the_rehearsal_is_small() -> None:
    settings = Settings(**{**FULL, **QUICK})
    assert len(choose_tasks(settings.tasks)) == 2
    assert (settings.shots, settings.seeds) == ([1, 3], [0, 1])
    assert settings.out != FULL["out"]


def test_later_files_win_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    files = ("-c", str(EXPERIMENTS / "evidence.yaml"), "-c", str(EXPERIMENTS / "evidence-quick.yaml"))
    with pytest.raises(SystemExit) as stop:
        main(["evidence", *files, "--rank", "3", "--print_config"])
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed.pop("executor")["kind"] == "local"
    assert printed == {
        **FULL,
        **QUICK,
        "rank": 3,
        "frames": False,
        "report_only": False,
        "write_outside": False,
    }
