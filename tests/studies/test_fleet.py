"""More tasks than one stack holds: cut, continued, isolated and pooled."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.data.arc_files import task, write
from tests.fleets import EXPERIMENTS, NAMES, command, interrupt_second, nothing, records, watch
from vdmfewshot.backbones.checkpoint import Checkpoint
from vdmfewshot.cli.command import main as real_main
from vdmfewshot.cli.command import make_cli
from vdmfewshot.cli.report import read_runs
from vdmfewshot.data.arc_stack import ArcStackDataModule
from vdmfewshot.data.arc_tasks import list_tasks
from vdmfewshot.metrics.intervals import wilson
from vdmfewshot.studies.fleet.plan import Fleet, ResolvedCLI, plan, read_job
from vdmfewshot.studies.fleet.run import Runner, fleet, publish


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tasks, of which ``t4`` has two queries and ``t2`` cannot be read."""
    folder = tmp_path_factory.mktemp("arc")
    for seed, name in enumerate(NAMES):
        test = ((3, 3), (3, 3)) if name == "t4" else ((3, 3),)
        write(folder / f"{name}.json", task(train=((3, 3), (3, 3)), test=test, seed=seed))
    write(folder / "t2.json", {"train": [], "test": []})
    return folder


@pytest.fixture(scope="module")
def runs(source: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet that was interrupted in its second stack of two, and then continued with stacks of three."""
    folder = tmp_path_factory.mktemp("fleet")
    with pytest.MonkeyPatch.context() as patch:
        stacks = watch(patch, interrupt_second)
        with pytest.raises(KeyboardInterrupt):
            fleet(["--stack", "2", *command(source, tiny, folder)])
        assert stacks == [["t0", "t1"]]
    with pytest.MonkeyPatch.context() as patch:
        stacks = watch(patch, nothing)
        real_main(["fleet", *command(source, tiny, folder), "--stack=3"])
        assert stacks == [["t3", "t4"]], "what is done is done, and t2 has no data"
    return folder


@pytest.fixture(scope="module")
def resolved(source: Path, tiny: Path, runs: Path) -> ResolvedCLI:
    """The command line of the fleet; parsed once, because that takes longer than the tests."""
    return make_cli(["adapt", *command(source, tiny, runs)], ResolvedCLI)


@pytest.fixture
def copy(runs: Path, resolved: ResolvedCLI, tmp_path: Path) -> Fleet:
    """The finished fleet, to be changed by a test."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    planned = plan(resolved)
    home = tmp_path / planned.home.relative_to(runs)
    jobs = [replace(job, file=home / job.file.relative_to(planned.home)) for job in planned.jobs]
    return replace(planned, folder=home.parent, home=home, jobs=jobs)


# -- what is run ----------------------------------------------------------------------------------------------------


def test_every_task_is_scored_once_and_nothing_large_is_kept(runs: Path) -> None:
    assert [len(records(runs, name)) for name in NAMES] == [1, 1, 0, 1, 1]
    kept = {file.name for file in runs.rglob("*") if file.is_file()}
    assert not [name for name in kept if name.endswith((".ckpt", ".png", ".gif", ".safetensors"))], kept


def test_when_all_is_done_nothing_starts(
    source: Path, tiny: Path, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks = watch(monkeypatch, nothing)
    before = json.loads((runs / "arc-fleet/fleet.json").read_text())
    again = fleet(command(source, tiny, runs))
    assert "5 tasks, 0 to go" in capsys.readouterr().out
    reported = fleet([*command(source, tiny, runs), "--report_only", "true"])
    assert "to go" not in capsys.readouterr().out
    assert stacks == []
    assert before == again == reported


LOUD = [("trainer.max_steps", 3), ("seed_everything", 1), ("trainer.callbacks", []), ("data.init_args.variants", 2)]
SILENT = [("name", "other"), ("data.init_args.tasks", ["t0"]), ("trainer.enable_progress_bar", True)]


@pytest.mark.parametrize(("option", "value"), LOUD + SILENT)
def test_results_count_for_their_configuration_alone(
    option: str, value: Any, resolved: ResolvedCLI, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resolved.key()
    assert (runs / "arc-fleet" / before / "tasks").is_dir()
    monkeypatch.setitem(resolved.config["adapt"], option, value)
    assert (resolved.key() != before) == ((option, value) in LOUD)
    if (option, value) in LOUD:
        with pytest.raises(ValueError, match="none of 5 tasks has scores with this configuration"):
            publish(plan(resolved), Console())


def test_other_weights_in_the_same_place_are_another_configuration(
    resolved: ResolvedCLI, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resolved.key()
    shutil.copytree(tiny, tmp_path / "weights")
    monkeypatch.setattr(resolved.model.backbone, "checkpoint", Checkpoint(str(tmp_path / "weights")))
    assert resolved.key() == before
    (file,) = tmp_path.glob("weights/transformer/*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert resolved.key() != before


def test_a_task_is_known_by_its_content(source: Path, tmp_path: Path) -> None:
    def file(folder: Path) -> str:
        data = ArcStackDataModule(source=str(folder), height=32, width=32)
        return read_job("t0", data.make_task("t0"), tmp_path).file.name

    before = file(source)
    shutil.copytree(source, tmp_path / "arc")
    assert file(tmp_path / "arc") == before
    content = json.loads((source / "t0.json").read_text())
    content["test"][0]["output"][0][0] ^= 1
    write(tmp_path / "arc/t0.json", content)
    assert file(tmp_path / "arc") != before, "another hidden answer is another result"


def test_a_task_that_fails_costs_the_others_nothing(
    source: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "arc"
    shutil.copytree(source, own)

    def lose(tasks: list[str], stacks: list[list[str]]) -> None:
        (own / "t1.json").unlink(missing_ok=True)

    stacks = watch(monkeypatch, lose)
    listed = ['--data.init_args.tasks=["t0", "t1"]', "--trainer.callbacks+=AdapterExport"]
    summary = fleet(command(own, tiny, tmp_path, *listed))
    assert stacks == [["t0", "t1"], ["t0"], ["t1"]]
    assert list(summary["tasks"]) == ["t0"]
    assert "no task 't1'" in summary["missing"]["t1"]
    (failure,) = tmp_path.glob("arc-fleet/*/tasks/t1-*.failed.txt")
    assert "Traceback" in failure.read_text()
    assert "task t1 fails" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("adapter/t0/pytorch_lora_weights.safetensors"))) == 1, "adapters if asked for"


def test_a_fleet_without_hope_stops(copy: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tasks: list[str], stacks: list[list[str]]) -> None:
        stacks.append(tasks)
        raise OSError("no weights")

    shutil.rmtree(copy.home / "tasks")
    stacks = watch(monkeypatch, fail)
    with pytest.raises(ValueError, match="3 tasks have failed on their own and none has succeeded"):
        Runner(copy, Console()).run(16)
    assert stacks == [["t0", "t1", "t3", "t4"], ["t0", "t1"], ["t0"], ["t1"], ["t3", "t4"], ["t3"]]


# -- what is reported -------------------------------------------------------------------------------------------------


def test_pooled_scores_are_those_of_the_records(copy: Fleet) -> None:
    """One task solved at once, one of the two queries of another at the second answer: 2 of 6 queries."""
    wrong = {"rank": 0, "cell_accuracy": 0.0, "size_right": False}
    changes = {
        **{name: [wrong] for name in ("t1", "t3")},
        "t0": [{"rank": 1, "cell_accuracy": 1.0, "size_right": True}],
        "t4": [{"rank": 2, "cell_accuracy": 0.5, "size_right": True}, wrong],
    }
    for name, rows in changes.items():
        (file,) = records(copy.home, name)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(line | row) + "\n" for line, row in zip(lines, rows, strict=True)))
    summary = publish(copy, Console())
    rows = summary["scores"]
    assert (rows["pass@2"]["score"], rows["pass@1"]["score"]) == pytest.approx((2 / 6, 1 / 6))
    assert rows["cell_accuracy"]["score"] == pytest.approx(1.5 / 6)
    assert rows["task_pass@2"]["score"] == pytest.approx(1 / 5)
    assert (rows["pass@2"]["low"], rows["pass@2"]["high"]) == pytest.approx((wilson(2, 6).low, wilson(2, 6).high))
    assert 0 <= rows["cell_accuracy"]["low"] < 0.25 < rows["cell_accuracy"]["high"] < 1
    assert summary["solved"] == ["t0"]
    assert summary["tasks"] == {"t0": 1.0, "t1": 0.0, "t3": 0.0, "t4": 0.5}
    assert json.loads((copy.folder / "fleet.json").read_text()) == summary


def test_references_are_those_of_the_stacks(copy: Fleet) -> None:
    rows = publish(copy, Console())["scores"]
    for reference in ("ceiling", "copy_input", "mean_target"):
        files = copy.home.glob(f"t*/version_0/scores/test/step=2/t*/{reference}.jsonl")
        cells = [json.loads(line)["cell_accuracy"] for file in files for line in file.read_text().splitlines()]
        assert len(cells) == 5
        assert rows["cell_accuracy"][reference] == pytest.approx(sum(cells) / 5)
    assert rows["cell_accuracy"]["ceiling"] != rows["cell_accuracy"]["copy_input"]


def test_missing_tasks_count_as_failures(copy: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    whole = publish(copy, Console())
    assert (whole["expected"], list(whole["missing"])) == (5, ["t2"])
    assert "needs a list 'test'" in whole["missing"]["t2"]
    assert whole["scores"]["pass@2"]["n_expected"] == 6, "t2, whose queries are unknown, counts as one"
    (file,) = records(copy.home, "t4")
    shutil.rmtree(file.parent)
    capsys.readouterr()
    part = publish(copy, Console())
    assert (sorted(part["tasks"]), part["missing"]["t4"]) == (["t0", "t1", "t3"], "not yet run")
    assert part["scores"]["pass@2"]["n_expected"] == 6
    assert part["scores"]["pass@2"]["n"] <= 3
    assert part["wall_hours"] < whole["wall_hours"]
    printed = capsys.readouterr().out
    assert "3 of 5 tasks" in printed
    assert "2 tasks have no scores and count as failures" in printed


def test_report_of_runs_shows_the_pooled_score_beside_those_of_the_stacks(copy: Fleet) -> None:
    summary = publish(copy, Console())
    pooled, *stacks = read_runs(copy.folder)
    assert pooled.run == copy.home
    assert pooled.row["n_expected"] == 6
    assert pooled.seconds == pytest.approx(3600 * summary["wall_hours"])
    assert summary["cpu_hours"] > 0
    assert [score.run.parent.name for score in stacks] == ["t0+1", "t3+1"]


# -- mistakes -------------------------------------------------------------------------------------------------------


def test_mistakes_are_noticed_in_the_plan(resolved: ResolvedCLI, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(message: str) -> None:
        with pytest.raises(ValueError, match=message):
            plan(resolved)

    with monkeypatch.context() as patch:
        patch.setitem(resolved.datamodule.options, "height", 30)
        refused("height must be a multiple of")
    with monkeypatch.context() as patch:
        patch.setattr(type(resolved.trainer), "world_size", 2)
        refused("a fleet runs on one device, got 2")
    with monkeypatch.context() as patch:
        patch.setitem(resolved.config["adapt"], "ckpt_path", "last.ckpt")
        refused("cannot continue a checkpoint; leave --ckpt_path out")
    for tasks, message in (
        (["t0", "t0"], "got 't0' more than once"),
        ([], "got none"),
        (["t2"], "needs a list 'test'"),
    ):
        monkeypatch.setattr(resolved.datamodule, "listed", tasks)
        refused(message)
    monkeypatch.setattr(resolved, "datamodule", resolved.datamodule.make_task("t0"))
    refused("needs data that list tasks by id, got ArcDataModule; use ArcStackDataModule")


def test_options_of_both_kinds_are_checked() -> None:
    with pytest.raises(ValueError, match="stack must be at least 1, got 0"):
        fleet(["--stack", "0"])
    with pytest.raises(ValueError, match=r"did you mean --trainer\.max_steps\?"):
        real_main(["fleet", "-c", str(EXPERIMENTS / "arc-fleet.yaml"), "--trainer.max_step=3"])


def test_the_experiment_takes_the_shipped_model_and_two_attempts() -> None:
    """Written out, because a file that is named in another cannot be changed in one place."""
    expected = yaml.safe_load((EXPERIMENTS / "model" / "embedded.yaml").read_text())
    expected["init_args"]["sampling"] = {"quality": "few", "attempts": 2}  # attempts of one step are too alike
    assert yaml.safe_load((EXPERIMENTS / "arc-fleet.yaml").read_text())["model"] == expected


def test_the_experiment_lists_all_public_evaluation_tasks() -> None:
    fragment = yaml.safe_load((EXPERIMENTS / "data" / "arc_fleet.yaml").read_text())
    data = ArcStackDataModule(**fragment["init_args"])
    assert data.ids == list_tasks("arcagi1", "evaluation")
    assert len(data.ids) == 400
