"""The verb ``fleet``: a study of one point, from an ``adapt`` command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli import instant
from tests.data.arc_files import task, write
from vdmfewshot.cli.command import main
from vdmfewshot.cli.fleet import fleet
from vdmfewshot.cli.report import read_runs
from vdmfewshot.cli.runner import CommandLineAdapter
from vdmfewshot.data.arc_stack import ArcStackDataModule
from vdmfewshot.data.arc_tasks import list_tasks
from vdmfewshot.studies.engine import PARTIAL
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tasks, of which ``t4`` has two queries and ``t2`` cannot be read."""
    folder = tmp_path_factory.mktemp("arc")
    for seed in range(5):
        test = ((3, 3), (3, 3)) if seed == 4 else ((3, 3),)
        write(folder / f"t{seed}.json", task(train=((3, 3), (3, 3)), test=test, seed=seed))
    write(folder / "t2.json", {"train": [], "test": []})
    return folder


def command(source: Path, tiny: Path, runs: Path, *args: str) -> list[str]:
    return [
        *("-c", str(EXPERIMENTS / "arc-fleet.yaml"), "--data.init_args.source", str(source)),
        *("--trainer.default_root_dir", str(runs), "--trainer.precision=32", "--trainer.max_steps=2"),
        *("--data.init_args.height=32", "--data.init_args.width=32", "--model.init_args.sampling.steps=1"),
        *("--model.init_args.backbone.init_args.path", str(tiny), *args),
    ]


def watch(patch: pytest.MonkeyPatch, stop_at: int = 99) -> list[list[str]]:
    """The tasks of every stack that runs; one of them is interrupted."""
    stacks: list[list[str]] = []
    run = CommandLineAdapter.run

    def noted(self: CommandLineAdapter, stack: Any, *args: Any) -> Any:
        if len(stacks) == stop_at:
            raise KeyboardInterrupt
        stacks.append([unit.task for unit in stack])
        return run(self, stack, *args)

    patch.setattr(CommandLineAdapter, "run", noted)
    return stacks


@pytest.fixture(scope="module")
def runs(source: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet that was interrupted in its second stack of two, and then continued with stacks of three."""
    folder = tmp_path_factory.mktemp("fleet")
    with pytest.MonkeyPatch.context() as patch:
        stacks = watch(patch, stop_at=1)
        with pytest.raises(KeyboardInterrupt):
            fleet(["--stack", "2", *command(source, tiny, folder)])
        assert len(stacks) == 1
    with pytest.MonkeyPatch.context() as patch:
        continued = watch(patch)
        assert main(["fleet", *command(source, tiny, folder), "--stack=3"]) == PARTIAL, "t2 has no result"
        rest = {"t0", "t1", "t3", "t4"} - set(stacks[0])
        assert {name for stack in continued for name in stack} == rest, "what is done is done, and t2 has no data"
    return folder


def test_a_second_start_reports_and_runs_nothing(
    source: Path, tiny: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = watch(monkeypatch)
    before = json.loads((runs / "arc-fleet/fleet.json").read_text())
    assert fleet(command(source, tiny, runs)) == PARTIAL
    assert fleet([*command(source, tiny, runs), "--report_only", "true"]) == PARTIAL
    assert json.loads((runs / "arc-fleet/fleet.json").read_text()) == before
    assert stacks == []
    assert (before["expected"], list(before["missing"]), before["main"]) == (5, ["t2"], "pass@2")
    assert "needs a list 'test'" in before["missing"]["t2"]
    assert before["scores"]["pass@2"]["n_expected"] == 6, "t2, whose queries are unknown, counts as one"
    assert sorted(before["tasks"]) == ["t0", "t1", "t3", "t4"]
    assert before["cpu_hours"] > 0


def test_a_report_of_unchanged_results_imports_no_heavy_library(source: Path, tiny: Path, runs: Path) -> None:
    ((text, heavy),) = instant.answers([["fleet", *command(source, tiny, runs), "--report_only"]], runs)
    assert "arc-fleet: 4 of 5 units" in text
    assert f"tasks solved: - {runs / 'arc-fleet' / 'fleet.json'}".replace("- ", "-; ") in text
    assert not heavy


def answer(store: Store, unit: str, rows: list[dict[str, Any]]) -> None:
    """Publish a result again as if its queries had been answered like this."""
    draft = store.scratch() / unit
    shutil.move(store.place(unit), draft)
    file = draft / "records.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(old | new) + "\n" for old, new in zip(known, rows, strict=True)))
    facts = json.loads((draft / "DONE").read_text())
    (draft / "DONE").unlink()
    assert store.publish(unit, draft, facts)


def test_pooled_scores_are_those_of_all_queries(source: Path, tiny: Path, runs: Path, tmp_path: Path) -> None:
    """Two of six right in two attempts, one in one; expected bounds are those of SciPy's Wilson interval."""
    shutil.copytree(runs, tmp_path / "runs")
    manifest = Manifest.read(tmp_path / "runs/arc-fleet")
    assert manifest is not None
    store, units = Store(tmp_path / "runs/arc-fleet"), {unit.task: unit.id for unit in manifest.units}
    wrong = {"rank": 0, "cell_accuracy": 0.0, "size_right": True}
    answer(store, units["t0"], [{"rank": 1, "cell_accuracy": 1.0, "size_right": True}])
    answer(store, units["t4"], [{"rank": 2, "cell_accuracy": 0.5, "size_right": True}, wrong])
    for name in ("t1", "t3"):
        answer(store, units[name], [wrong])
    fleet([*command(source, tiny, tmp_path / "runs"), "--report_only"])
    rows = json.loads((tmp_path / "runs/arc-fleet/fleet.json").read_text())["scores"]

    def found(name: str) -> list[float]:
        return [rows[name][key] for key in ("score", "low", "high")]

    # scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    assert found("pass@2") == pytest.approx([2 / 6, 0.096771, 0.700007], abs=1e-6)
    assert found("pass@1") == pytest.approx([1 / 6, 0.030053, 0.563503], abs=1e-6)
    assert found("task_pass@2") == pytest.approx([1 / 5, 0.036224, 0.624465], abs=1e-6)
    assert rows["cell_accuracy"]["score"] == pytest.approx(1.5 / 6)
    assert 0 <= rows["cell_accuracy"]["low"] < 0.25 < rows["cell_accuracy"]["high"] < 1


def test_the_report_of_runs_shows_the_pooled_score(runs: Path) -> None:
    (pooled,) = read_runs(runs / "arc-fleet")
    assert pooled.row["n_expected"] == 6
    assert (pooled.run / "scores").is_dir()


def test_mistakes_are_noticed_before_anything_is_trained(source: Path, tiny: Path, tmp_path: Path) -> None:
    def refused(message: str, *args: str) -> None:
        with pytest.raises(ValueError, match=message):
            fleet(command(source, tiny, tmp_path, *args))

    refused("stack must be auto or a whole number from 1, got 0", "--stack", "0")
    refused("height must be a multiple of", "--data.init_args.height=30")
    refused("got 't0' more than once", '--data.init_args.tasks=["t0", "t0"]')
    refused("needs a list 'test'", '--data.init_args.tasks=["t2"]')
    with pytest.raises(ValueError, match="fleet needs data that list tasks by id, got ArcDataModule"):
        fleet(["-c", str(EXPERIMENTS / "arc.yaml"), "--trainer.default_root_dir", str(tmp_path)])
    with pytest.raises(ValueError, match=r"did you mean --trainer\.max_steps\?"):
        main(["fleet", "-c", str(EXPERIMENTS / "arc-fleet.yaml"), "--trainer.max_step=3"])


def test_the_experiment_lists_all_public_evaluation_tasks() -> None:
    fragment = yaml.safe_load((EXPERIMENTS / "data" / "arc_fleet.yaml").read_text())
    data = ArcStackDataModule(**fragment["init_args"])
    assert data.ids == list_tasks("arcagi1", "evaluation")
    assert len(data.ids) == 400
