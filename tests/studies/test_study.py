"""``vdmfewshot study`` on tiny tasks and a tiny model: real runs, from the settings to the table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.data.arc_files import task, write
from vdmfewshot.cli.pages.runs import read_run
from vdmfewshot.cli.planner import CommandLinePlanner
from vdmfewshot.cli.report import find_scores
from vdmfewshot.cli.runner import CommandLineAdapter
from vdmfewshot.cli.study import study
from vdmfewshot.studies.engine import PARTIAL, Engine
from vdmfewshot.studies.settings import Study, read_study
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest, Unit
from vdmfewshot.studies.work import attempt

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six tasks of two families; one has two queries, one cannot be read, one has an odd name."""
    folder = tmp_path_factory.mktemp("arc")
    for seed, name in enumerate(("a/t0", "a/t1", "a/t2", "b/t3", "b/t4", "b/-rf")):
        test = ((3, 3), (3, 3)) if name == "b/t4" else ((3, 3),)
        write(folder / f"{name}.json", task(train=((3, 3), (3, 3), (3, 3)), test=test, seed=seed))
    write(folder / "a/t2.json", {"train": [], "test": []})
    return folder


def settings(source: Path, tiny: Path, out: Path, **changes: Any) -> dict[str, Any]:
    return {
        "base": str(EXPERIMENTS / "arc-fleet.yaml"),
        "tasks": {"source": str(source)},
        "set": {
            "height": 32,
            "width": 32,
            "model.init_args.backbone.init_args.path": str(tiny),
            "model.init_args.sampling.steps": 1,
            "trainer.precision": "32",
            "trainer.max_steps": 2,
        },
        "axes": {"shots": [2, 3]},
        "stack": 3,
        "out": str(out),
        **changes,
    }


def saved(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "concepts.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture(scope="module")
def finished(source: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML file of a study that has run."""
    folder = tmp_path_factory.mktemp("study")
    file = saved(folder, settings(source, tiny, folder / "runs", keep=["pictures"]))
    assert study(["-c", str(file), "--out", str(folder / "runs")]) == PARTIAL
    return file


def where(file: Path) -> tuple[str, str]:
    """The option that allows a study to write where its file says, outside of the working folder."""
    return "--out", str(file.parent / "runs")


def folder_of(file: Path) -> Path:
    return file.parent / "runs" / "concepts"


def manifest_of(file: Path) -> Manifest:
    manifest = Manifest.read(folder_of(file))
    assert manifest is not None
    return manifest


def records(folder: Path, unit: Unit) -> dict[str, bytes]:
    """Everything of a result that is measured, and no clock."""
    place = Store(folder).place(unit.id)
    return {file.name: file.read_bytes() for file in place.glob("*.jsonl")}


def test_every_unit_is_scored_and_no_adapter_is_kept_unless_asked_for(finished: Path) -> None:
    units = manifest_of(finished).units
    assert len(units) == 2 * 6
    done = Store(folder_of(finished)).finished(unit.id for unit in units)
    assert [unit.label for unit in units if unit.id not in done] == ["a/t2 shots=2", "a/t2 shots=3"]
    assert sorted(records(folder_of(finished), units[0])) == [
        *("ceiling.jsonl", "copy_input.jsonl", "manifest.jsonl", "mean_target.jsonl", "records.jsonl", "samples.jsonl")
    ]
    kept = {file.suffix for file in folder_of(finished).rglob("*") if file.is_file()}
    assert kept <= {"", ".json", ".jsonl", ".yaml", ".csv", ".png", ".gif"}


def test_the_summary_has_points_families_and_reasons(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = json.loads((folder_of(finished) / "summary.json").read_text())
    assert [point["point"] for point in summary["points"]] == [{"shots": 2}, {"shots": 3}]
    first = summary["points"][0]
    assert (first["done"], first["expected"], first["scores"]["pass@2"]["n_expected"]) == (5, 6, 7)
    assert {name: rows["pass@2"]["n_expected"] for name, rows in first["families"].items()} == {"a": 3, "b": 4}
    assert first["scores"]["pass@2"]["ceiling"] is not None
    assert "needs a list 'test'" in summary["missing"]["a/t2 shots=2"]["reason"]
    assert study(["report", "-c", str(finished), *where(finished)]) == PARTIAL
    printed = capsys.readouterr().out
    assert "concepts: 10 of 12 units" in printed
    assert "a/t2 shots=3: data:" in printed


def test_a_report_shows_each_point_with_its_samples(finished: Path) -> None:
    runs = {folder: read_run(folder, scores) for folder, scores in find_scores(folder_of(finished)).items()}
    assert [run.settings["shots"] for run in runs.values()] == [2, 3]
    for run in runs.values():
        assert "task" not in run.settings
        assert len(run.samples) == run.row["n_expected"] == 7
        assert run.failures["no attempt drew a grid"] >= 1, "a unit without a result counts"
        drawn = [sample.key for sample in run.samples if sample.picture is not None]
        assert len(drawn) == 6, "every sample of the five tasks that can be read"
        assert run.command == f"vdmfewshot study -c {folder_of(finished) / 'study.yaml'}"


def test_a_finished_study_reports_without_torch(finished: Path) -> None:
    code = (
        "import sys; from vdmfewshot.cli.study import run; status = run(sys.argv[1:]);"
        "assert 'torch' not in sys.modules, 'torch'; raise SystemExit(status)"
    )
    for verb in (["run"], ["status"], ["report"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *verb, "-c", str(finished), *where(finished)], capture_output=True, text=True
        )
        assert done.returncode == (0 if verb == ["status"] else PARTIAL), done.stderr


def test_alone_in_a_stack_and_after_another_a_unit_comes_out_the_same(finished: Path, tmp_path: Path) -> None:
    """Alone in a new process-like adapter, and alone after another unit on the kept model: bit for bit."""
    units = [unit for unit in manifest_of(finished).units if not unit.problem][:2]
    shutil.copytree(folder_of(finished) / "configs", tmp_path / "fresh" / "configs")
    shutil.copytree(folder_of(finished) / "configs", tmp_path / "warm" / "configs")
    attempt(CommandLineAdapter(tmp_path / "fresh"), Store(tmp_path / "fresh"), [units[1]])
    warm = CommandLineAdapter(tmp_path / "warm")
    for unit in units:
        attempt(warm, Store(tmp_path / "warm"), [unit])
    assert warm._warm[1] is not None, "the frozen model is kept"
    assert records(tmp_path / "fresh", units[1]) == records(tmp_path / "warm", units[1])
    stacked, alone = (records(folder, units[1]) for folder in (folder_of(finished), tmp_path / "fresh"))
    assert json.loads(stacked["records.jsonl"])["answers"] == json.loads(alone["records.jsonl"])["answers"]


# -- identity ---------------------------------------------------------------------------------------------------------


def planned(source: Path, tiny: Path, tmp_path: Path, **changes: Any) -> list[Unit]:
    content = settings(source, tiny, tmp_path / "plans", tasks={"source": str(source), "ids": ["a/t0"]}, axes={})
    content["set"] |= changes.pop("set", {})
    return CommandLinePlanner().plan(read_study(saved(tmp_path, {**content, **changes}), {})).units


LOUD = [{"trainer.max_steps": 3}, {"seed_everything": 1}, {"variants": 2}, {"shots": 2}, {"trainer.callbacks": []}]
SILENT = [{"trainer.enable_progress_bar": True}, {"model.init_args.cache_dir": "latents"}, {"num_workers": 1}]


def test_a_unit_is_known_by_what_its_score_depends_on(source: Path, tiny: Path, tmp_path: Path) -> None:
    before = planned(source, tiny, tmp_path)[0].id
    assert planned(source, tiny, tmp_path)[0].id == before
    assert all(planned(source, tiny, tmp_path, set=change)[0].id != before for change in LOUD)
    assert all(planned(source, tiny, tmp_path, set=change)[0].id == before for change in SILENT)


def test_a_unit_is_known_by_content_of_task_and_weights(source: Path, tiny: Path, tmp_path: Path) -> None:
    before = planned(source, tiny, tmp_path)[0].id
    shutil.copytree(source, tmp_path / "arc")
    shutil.copytree(tiny, tmp_path / "weights")
    moved = {"model.init_args.backbone.init_args.path": str(tmp_path / "weights")}
    assert planned(tmp_path / "arc", tiny, tmp_path)[0].id == before, "the folder is not the content"
    (file,) = (tmp_path / "weights").glob("transformer/*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert planned(source, tiny, tmp_path, set=moved)[0].id != before
    answer = json.loads((source / "a/t0.json").read_text())
    answer["test"][0]["output"][0][0] ^= 1
    write(tmp_path / "arc/a/t0.json", answer)
    assert planned(tmp_path / "arc", tiny, tmp_path)[0].id != before, "another hidden answer is another result"


# -- tasks of other kinds ---------------------------------------------------------------------------------------------


def test_pair_folders_and_generated_tasks_are_tasks(pairs_root: Path, tiny: Path, tmp_path: Path) -> None:
    for name in ("left", "right"):
        shutil.copytree(pairs_root, tmp_path / "folders" / name)
    content = settings(pairs_root, tiny, tmp_path / "runs", axes={}, set={"height": 32, "width": 32, "shots": 3})
    folders = {
        **content,
        "base": str(EXPERIMENTS / "cells.yaml"),
        "tasks": {"folders": str(tmp_path / "folders" / "*")},
    }
    plan = CommandLinePlanner().plan(read_study(saved(tmp_path, folders), {}))
    assert [(unit.task, Path(unit.data["root"]).name) for unit in plan.units] == [("left", "left"), ("right", "right")]
    assert len({unit.group for unit in plan.units}) == 1, "they can train side by side"
    generated = {**content, "base": "cells", "tasks": {"generated": ["invert", "life"]}}
    plan = CommandLinePlanner().plan(read_study(saved(tmp_path, generated), {}))
    assert [unit.main for unit in plan.units] == ["psnr_db", "pass@1"]
    assert len({unit.group for unit in plan.units}) == 2, "pictures and boards do not stack"


MISTAKES = [
    ({"axis": {}}, "unknown setting axis of a study; did you mean axes"),
    ({"executor": {"kind": "slurm"}}, "executor.kind must be local or ray, got 'slurm'"),
    ({"executor": {"worker": 2}}, "did you mean executor.workers"),
    ({"axes": {"shots": 3}}, "axes.shots must be a list of one or more values, got 3"),
    ({"stack": 0}, "stack must be auto or a whole number from 1, got 0"),
    ({"name": "../x"}, "name must be letters"),
    ({"tasks": {"sources": "x"}}, "tasks must name one of source, folders, generated, categories, got sources"),
    ({"tasks": {"source": "arcagi1", "splitt": "training"}}, "did you mean split"),
    ({"tasks": {"source": "arcagi1", "ids": ["0057622"]}}, "no task '0057622' among 400; nearest: "),
    ({"tasks": {"generated": ["zooom"]}}, "tasks.generated must be of"),
    ({"tasks": {"folders": ["nowhere"]}}, "must be folders of pairs"),
    ({"base": "cels"}, r"base: cels: there is no such file or name; did you mean cells\?"),
    ({"base": []}, "base must name one or more configuration files"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_mistakes_name_rule_value_and_remedy(
    source: Path, tiny: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = saved(tmp_path, settings(source, tiny, tmp_path / "runs") | change)
    with pytest.raises(ValueError, match=message):
        CommandLinePlanner().plan(read_study(file, {}))


def test_settings_of_the_file_can_be_replaced(tmp_path: Path) -> None:
    file = saved(tmp_path, {"base": "x.yaml", "axes": {"shots": [1]}, "executor": {"kind": "ray"}})
    replaced = read_study(file, {"executor.workers": 2, "axes.shots": [3], "set.trainer.max_steps": 5, "stack": 4})
    assert replaced.executor.kind == "ray"
    assert replaced.executor.workers == 2
    assert (replaced.axes, replaced.set, replaced.stack) == ({"shots": [3]}, {"trainer.max_steps": 5}, 4)


def test_an_unfinished_study_says_so(source: Path, tiny: Path, tmp_path: Path) -> None:
    found = Study(("x.yaml",), out=str(tmp_path))
    with pytest.raises(ValueError, match="nothing is planned"):
        Engine(found, CommandLinePlanner, CommandLineAdapter, Console()).status()
