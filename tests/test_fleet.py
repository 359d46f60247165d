"""More tasks than one stack holds: cut, continued, isolated and pooled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.arc_files import task, write
from vdmfewshot.cli import make_cli
from vdmfewshot.cli import main as real_main
from vdmfewshot.data.arc_tasks import list_tasks
from vdmfewshot.data.examples import DataError
from vdmfewshot.fleet import run
from vdmfewshot.fleet.plan import Fleet, ResolvedCLI, plan
from vdmfewshot.fleet.run import fleet
from vdmfewshot.metrics.intervals import wilson
from vdmfewshot.report import read_runs

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "arc-fleet.yaml"
NAMES = ["t0", "t1", "t2", "t3", "t4"]
Before = Callable[[list[str], list[list[str]]], None]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tasks, of which ``t4`` has two queries and ``t2`` cannot be read."""
    folder = tmp_path_factory.mktemp("arc")
    for seed, name in enumerate(NAMES):
        test = ((3, 3), (3, 3)) if name == "t4" else ((3, 3),)
        write(folder / f"{name}.json", task(train=((3, 3), (3, 3)), test=test, seed=seed))
    write(folder / "t2.json", {"train": [], "test": []})
    return folder


def command(source: Path, tiny: Path, runs: Path, *args: str) -> list[str]:
    return [
        *("-c", str(EXPERIMENT), "--data.init_args.source", str(source), "--trainer.default_root_dir", str(runs)),
        *("--data.init_args.height=32", "--data.init_args.width=32", "--trainer.precision=32", "--trainer.max_steps=2"),
        *("--model.init_args.sampling.steps=1", "--model.init_args.backbone.init_args.path", str(tiny), *args),
    ]


def watch(patch: pytest.MonkeyPatch, before: Before) -> list[list[str]]:
    """The tasks of every stack that is started; ``before`` is called with the tasks and the stacks before."""
    stacks: list[list[str]] = []

    def main(args: list[str]) -> Any:
        (tasks,) = [json.loads(arg.partition("=")[2]) for arg in args if arg.startswith("--data.init_args.tasks=")]
        before(tasks, stacks)
        stacks.append(tasks)
        return real_main(args)

    patch.setattr(run, "main", main)
    return stacks


def nothing(tasks: list[str], stacks: list[list[str]]) -> None:
    pass


def interrupt_second(tasks: list[str], stacks: list[list[str]]) -> None:
    if stacks:
        raise KeyboardInterrupt


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


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Iterator[Path]:
    """To be changed by a test."""
    shutil.copytree(runs, tmp_path / "copy")
    yield tmp_path / "copy"


def report(source: Path, tiny: Path, runs: Path) -> dict[str, Any]:
    return fleet([*command(source, tiny, runs), "--report_only", "true"])


def records(runs: Path, name: str) -> list[Path]:
    return list(runs.glob(f"arc-fleet/*/t*/version_0/scores/test/step=2/{name}/records.jsonl"))


def resolve(*args: str) -> Fleet:
    return plan(make_cli(["adapt", *args], ResolvedCLI))


# -- what is run ----------------------------------------------------------------------------------------------------


def test_every_task_is_scored_once_and_nothing_large_is_kept(runs: Path) -> None:
    assert [len(records(runs, name)) for name in NAMES] == [1, 1, 0, 1, 1]
    kept = {file.name for file in runs.rglob("*") if file.is_file()}
    assert not [name for name in kept if name.endswith((".ckpt", ".png", ".gif", ".safetensors"))], kept


def test_all_done_starts_nothing(source: Path, tiny: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks = watch(monkeypatch, nothing)
    fleet(command(source, tiny, copy, "--trainer.enable_model_summary=true"))
    assert stacks == []


def test_results_of_another_configuration_weights_or_task_do_not_count(
    source: Path, tiny: Path, runs: Path, tmp_path: Path
) -> None:
    for change in ("--trainer.max_steps=3", "--seed_everything=1", "--trainer.callbacks=[]"):
        with pytest.raises(ValueError, match="none of 5 tasks has scores with this configuration"):
            fleet([*command(source, tiny, runs, change), "--report_only"])
    args = command(source, tiny, runs)
    home = resolve(*args).home
    silent = ("--name=other", "--trainer.callbacks+=AdapterExport", '--data.init_args.tasks=["t4", "t0"]')
    assert (
        resolve(*args, *silent).home.name
        == home.name
        == json.loads((home / "../fleet.json").read_text())["configuration"]
    )
    other = tmp_path / "arc"
    shutil.copytree(source, other)
    write(other / "t0.json", task(train=((3, 3), (3, 3)), test=((3, 3),), seed=9))
    files = [
        {job.name: job.file.name for job in resolve(*command(place, tiny, runs)).jobs} for place in (source, other)
    ]
    assert [name for name in NAMES if files[0][name] != files[1][name]] == ["t0"]


def test_other_weights_in_the_same_place_are_another_configuration(source: Path, tiny: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(tiny, weights)
    before = resolve(*command(source, weights, tmp_path)).home
    assert resolve(*command(source, weights, tmp_path)).home == before
    (file,) = weights.glob("transformer/*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert resolve(*command(source, weights, tmp_path)).home != before


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


def test_a_fleet_without_hope_stops(source: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(tiny, weights)
    for file in weights.glob("vae/*.safetensors"):
        file.unlink()
    stacks = watch(monkeypatch, nothing)
    with pytest.raises(ValueError, match="3 tasks have failed on their own and none has succeeded"):
        fleet(command(source, weights, tmp_path))
    assert ["t4"] not in stacks


# -- what is reported -------------------------------------------------------------------------------------------------


def test_pooled_scores_are_those_of_the_records(source: Path, tiny: Path, copy: Path) -> None:
    """One task solved at once, one of the two queries of another at the second answer: 2 of 6 queries."""
    right: dict[str, list[dict[str, Any]]] = {
        "t0": [{"rank": 1, "cell_accuracy": 1.0, "size_right": True}],
        "t4": [{"rank": 2, "cell_accuracy": 0.5, "size_right": True}, {}],
    }
    for name, changes in right.items():
        (file,) = records(copy, name)
        rows = [json.loads(line) | {"rank": 0, "cell_accuracy": 0.0} for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(r | c) + "\n" for r, c in zip(rows, changes, strict=True)))
    for name in ("t1", "t3"):
        (file,) = records(copy, name)
        file.write_text(json.dumps(json.loads(file.read_text()) | {"rank": 0, "cell_accuracy": 0.0}) + "\n")
    summary = report(source, tiny, copy)
    rows = summary["scores"]
    assert (rows["pass@2"]["score"], rows["pass@1"]["score"]) == pytest.approx((2 / 6, 1 / 6))
    assert rows["cell_accuracy"]["score"] == pytest.approx(1.5 / 6)
    assert rows["task_pass@2"]["score"] == pytest.approx(1 / 5)
    assert (rows["pass@2"]["low"], rows["pass@2"]["high"]) == pytest.approx((wilson(2, 6).low, wilson(2, 6).high))
    assert 0 <= rows["cell_accuracy"]["low"] < 0.25 < rows["cell_accuracy"]["high"] < 1
    assert summary["solved"] == ["t0"]
    assert summary["tasks"] == {"t0": 1.0, "t1": 0.0, "t3": 0.0, "t4": 0.5}
    assert json.loads((copy / "arc-fleet/fleet.json").read_text()) == summary


def test_references_are_those_of_the_stacks(source: Path, tiny: Path, copy: Path) -> None:
    summary = report(source, tiny, copy)
    for reference in ("ceiling", "copy_input", "mean_target"):
        files = copy.glob(f"arc-fleet/*/t*/version_0/scores/test/step=2/t*/{reference}.jsonl")
        cells = [json.loads(line)["cell_accuracy"] for file in files for line in file.read_text().splitlines()]
        assert len(cells) == 5
        assert summary["scores"]["cell_accuracy"][reference] == pytest.approx(sum(cells) / 5)
    assert summary["scores"]["cell_accuracy"]["ceiling"] != summary["scores"]["cell_accuracy"]["copy_input"]


def test_missing_tasks_count_as_failures(
    source: Path, tiny: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = report(source, tiny, copy)
    assert (whole["expected"], list(whole["missing"])) == (5, ["t2"])
    assert "needs a list 'test'" in whole["missing"]["t2"]
    assert whole["scores"]["pass@2"]["n_expected"] == 6, "t2, whose queries are unknown, counts as one"
    (file,) = records(copy, "t4")
    shutil.rmtree(file.parent)
    capsys.readouterr()
    part = report(source, tiny, copy)
    assert (sorted(part["tasks"]), part["missing"]["t4"]) == (["t0", "t1", "t3"], "not yet run")
    assert part["scores"]["pass@2"]["n_expected"] == 6
    assert part["scores"]["pass@2"]["n"] <= 3
    assert part["wall_hours"] < whole["wall_hours"]
    printed = capsys.readouterr().out
    assert "3 of 5 tasks" in printed
    assert "2 tasks have no scores and count as failures" in printed


def test_report_of_runs_shows_the_pooled_score_beside_those_of_the_stacks(source: Path, tiny: Path, copy: Path) -> None:
    summary = report(source, tiny, copy)
    found = {score.run.name: score for score in read_runs(copy)}
    assert found.keys() == {summary["configuration"], "version_0"}
    pooled = found[summary["configuration"]]
    assert pooled.row["n_expected"] == 6
    assert pooled.seconds == pytest.approx(3600 * summary["wall_hours"])
    assert [score.run.parent.name for score in read_runs(copy)][1:] == ["t0+1", "t3+1"]


# -- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--stack", "0"], "stack must be at least 1, got 0"),
        (['--data.init_args.tasks=["t0", "t0"]'], "got 't0' more than once"),
        (["--data.init_args.tasks=[]"], "got none"),
        (["--trainer.devices=2"], "a fleet runs on one device, got 2"),
        (["--data.init_args.height=30"], "height must be a multiple of"),
    ],
)
def test_mistakes_are_noticed_before_anything_runs(
    args: list[str], message: str, source: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = watch(monkeypatch, nothing)
    with pytest.raises(ValueError, match=message):
        fleet(command(source, tiny, tmp_path, *args))
    assert stacks == []
    assert not list(tmp_path.iterdir())


def test_other_data_and_unreadable_tasks_are_refused(source: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs data that list tasks by id, got PairsDataModule; use ArcStack"):
        fleet(["--data", "PairsDataModule", "--data.root", str(source)])
    with pytest.raises(DataError, match="t2.*needs a list 'train'"):
        fleet(command(source, tiny, tmp_path, '--data.init_args.tasks=["t2"]'))


def test_misspelt_options_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        real_main(["fleet", "-c", str(EXPERIMENT), "--trainer.max_step=3"])
    assert stop.value.code == 2
    assert "did you mean" in capsys.readouterr().err


def test_the_experiment_lists_all_public_evaluation_tasks() -> None:
    cli = make_cli(["adapt", "-c", str(EXPERIMENT)], ResolvedCLI)
    assert cli.datamodule.ids == list_tasks("arcagi1", "evaluation")
    assert len(cli.datamodule.ids) == 400
