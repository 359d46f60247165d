"""Leave-one-out inside the demonstrations: folds, what they choose, and that the test has no say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.data.arc_files import task, write
from vdmfewshot.callbacks.leave_one_out import Held, LeaveOneOut, held, kept_views
from vdmfewshot.cli.command import main
from vdmfewshot.data.arc_folds import ArcFoldsDataModule

SMALL = {"height": 32, "width": 32, "batch_size": 1}


def test_folds_leave_one_demonstration_out_each_and_ask_nothing_else(tmp_path: Path) -> None:
    data = ArcFoldsDataModule("t", source=str(write(tmp_path / "t.json", task())), folds=2, **SMALL)
    data.setup()
    assert list(data.tasks) == ["t", "t-without-0", "t-without-1"]
    whole, *folds = data.tasks.values()
    assert len(whole.support) == 3
    assert len(whole.queries("validate")) == 0
    assert len(whole.queries("test")) == 2
    for index, fold in enumerate(folds):
        assert [pair.key for pair in fold.queries("validate")] == [f"t-without-{index}-train-{index}"]
        assert len(fold.support) == 2
        assert f"t-without-{index}-train-{index}" not in {pair.key for pair in fold.support}
        assert len(fold.queries("test")) == len(fold.queries("predict")) == 0


def test_a_single_demonstration_cannot_be_left_out(tmp_path: Path) -> None:
    source = str(write(tmp_path / "t.json", task(train=((3, 3),))))
    with pytest.raises(ValueError, match="at least two demonstrations, t has 1"):
        ArcFoldsDataModule("t", source=source, **SMALL).setup()
    with pytest.raises(ValueError, match="leave_out must be auto"):
        ArcFoldsDataModule("t", leave_out="0")


def record(right: list[bool], rank: int, cells: float) -> dict:
    return {"right": right, "rank": rank, "cell_accuracy": cells}


def test_right_answers_count_before_cells_and_cells_before_steps() -> None:
    """Two attempts at each of two views."""
    found = held(40, [record([True, False, True, True], 1, 1.0), record([False] * 4, 0, 0.5)], views=2)
    assert found == Held(40, 1, 2, 0.75, (1, 2))
    better = [
        Held(40, 1, 2, 0.75, (1, 2)),
        Held(20, 1, 2, 0.75, (1,)),
        Held(60, 1, 2, 0.7, (1,)),
        Held(80, 0, 2, 0.9, ()),
    ]
    assert sorted(better, key=lambda entry: entry.rank, reverse=True) == better


@pytest.mark.parametrize(
    ("votes", "kept"), [([2, 2, 1, 3], [0, 1, 3]), ([0, 0, 0], [0]), ([0, 1, 0], [0, 1]), ([3], [0])]
)
def test_views_are_kept_that_do_as_well_as_the_query_itself(votes: list[int], kept: list[int]) -> None:
    assert kept_views(votes) == kept


def test_auto_on_the_command_line_trains_folds_and_tests_with_the_chosen_weights(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "t.json", task(train=((3, 3), (3, 3)), test=((3, 3),)))
    small = [f"--data.{name}={value}" for name, value in SMALL.items()]
    cli = main(
        [
            *("adapt", "--data", "ArcDataModule", "--data.task", "t", "--data.source", str(source), *small),
            *("--data.leave_out", "auto", "--data.augmentation", "dihedral", "--model.sampling.views", "2"),
            *("--model.backbone.path", str(tiny), "--model.sampling.steps", "1", "--trainer.max_steps", "4"),
            *("--trainer.default_root_dir", str(tmp_path), "--name", "x", "--trainer.accelerator", "cpu"),
        ]
    )
    chooser = next(c for c in cli.trainer.callbacks if isinstance(c, LeaveOneOut))
    assert [entry.step for entry in chooser._history] == [1, 2, 3, 4]
    assert {entry.count for entry in chooser._history} == {2}
    for name, tensor in cli.model.state_dict().items():
        assert torch.equal(tensor.cpu(), chooser._weights[name])
    said = " ".join(capsys.readouterr().out.split())
    assert f"step {chooser._best.step} is taken: {chooser._best}" in said
    assert "leave-one-out: of 2 views" in said
    assert cli.model.sampling.views == len(kept_views(chooser._best.votes))
    scores = tmp_path / "x" / "version_0" / "scores" / "test" / "step=4"
    assert len((scores / "records.jsonl").read_text().splitlines()) == 1
    restored = LeaveOneOut()
    restored.load_state_dict(chooser.state_dict())
    assert restored._history == chooser._history
