"""The engine with units that train nothing: what is run, how often, and what failures cost."""

from __future__ import annotations

import io
import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import wandb
from rich.console import Console

from tests.studies.units import ScriptedAdapter, ScriptedPlanner
from vdmfewshot.studies.engine import PARTIAL, Engine
from vdmfewshot.studies.progress import Progress
from vdmfewshot.studies.settings import Study
from vdmfewshot.studies.units import Manifest
from vdmfewshot.studies.work import Outcome


def make_engine(folder: Path, script: dict[str, Any], **settings: Any) -> Engine:
    study = Study(("base.yaml",), tasks={"script": script}, out=str(folder), **{"stack": 4, **settings})
    return Engine(study, ScriptedPlanner, ScriptedAdapter, Console(file=io.StringIO(), width=200))


def ran(engine: Engine) -> list[list[str]]:
    log = engine.study.folder / "log.jsonl"
    return [json.loads(line)[0] for line in log.read_text().splitlines()] if log.exists() else []


def summary(engine: Engine) -> dict[str, Any]:
    return json.loads((engine.study.folder / "summary.json").read_text())


def printed(engine: Engine) -> str:
    assert isinstance(engine.console.file, io.StringIO)
    return engine.console.file.getvalue()


TEN = {f"t{i}": {"score": i % 2} for i in range(10)}


def test_a_study_runs_in_stacks_and_starting_again_does_nothing(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, TEN)
    before = ScriptedPlanner.planned
    assert engine.run() == 0
    assert [len(stack) for stack in ran(engine)] == [4, 4, 2]
    first = summary(engine)
    again = make_engine(tmp_path, TEN)
    assert again.run() == 0
    assert len(ran(again)) == 3
    assert ScriptedPlanner.planned == before + 1, "the manifest is fixed"
    assert summary(again) == first
    assert first["points"][0]["scores"]["pass@2"]["score"] == 0.5


def test_only_what_is_missing_is_run(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, TEN)
    engine.run()
    manifest = Manifest.read(engine.study.folder)
    assert manifest is not None
    lost = manifest.units[3]
    (engine.store.place(lost.id) / "DONE").unlink()
    changed = manifest.units[7]
    (engine.store.place(changed.id) / "records.jsonl").write_text("shorter\n")
    make_engine(tmp_path, TEN).run()
    assert sorted(name for stack in ran(engine)[3:] for name in stack) == [lost.task, changed.task]
    assert summary(engine)["done"] == 10


def test_an_extended_study_keeps_what_it_has(tmp_path: Path) -> None:
    make_engine(tmp_path, TEN).run()
    wider = make_engine(tmp_path, {**TEN, "t10": {}})
    assert wider.run() == 0
    assert ran(wider)[3:] == [["t10"]]


def test_tasks_of_one_point_are_listed_one_by_one(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, {"first": {"score": 1}, "second": {"score": 0}, "third": {"fail": "x"}})
    engine.run()
    listed = summary(engine)["points"][0]["tasks"]
    assert {task: scores["pass@2"]["score"] for task, scores in listed.items()} == {"first": 1, "second": 0, "third": 0}
    assert ["third", "0.000", "0.000", "-", "-", "0/1"] in [line.split() for line in printed(engine).splitlines()]
    grid = make_engine(tmp_path / "grid", {"first": {}, "second": {}}, axes={"shots": [1, 3]})
    grid.run()
    assert all("tasks" not in point for point in summary(grid)["points"])


def test_a_unit_that_fails_costs_no_other_its_result(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, {**TEN, "t4": {"fail": "no such thing"}, "t5": {"nan": True}})
    assert engine.run() == PARTIAL
    found = summary(engine)
    assert found["done"] == 8
    assert found["missing"]["t4"] == {"kind": "error", "reason": "ValueError: no such thing"}
    assert found["missing"]["t5"]["kind"] == "nan"
    assert found["points"][0]["scores"]["pass@2"]["n_expected"] == 10, "failures stay in the denominator"
    assert "t4 fails (error): ValueError: no such thing" in printed(engine)
    assert "0/10 done, 4 running" in printed(engine), "something is said before the first result"
    assert "2 of 10 units have no result" in printed(engine)
    before = len(ran(engine))
    assert make_engine(tmp_path, {**TEN, "t4": {"fail": "no such thing"}, "t5": {"nan": True}}).run() == PARTIAL
    assert len(ran(engine)) == before, "failed units run again only if asked"


def test_whatever_a_unit_raises_is_its_own_result(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, {**TEN, "t4": {"exit": 1}, "t5": {"exit": 0}, "t6": {"memory": 1000}})
    assert engine.run() == PARTIAL
    found = summary(engine)
    assert found["done"] == 7
    assert found["missing"]["t4"] == {"kind": "error", "reason": "SystemExit: 1"}
    assert found["missing"]["t5"] == {"kind": "error", "reason": "SystemExit: 0"}
    assert found["missing"]["t6"]["kind"] == "oom"


def test_a_terminated_study_ends_and_goes_on_later(tmp_path: Path) -> None:
    script = {f"t{i}": {"alone": True} for i in range(4)}
    stopped = make_engine(tmp_path, script | {"t2": {"alone": True, "exit": 128 + signal.SIGTERM}})
    with pytest.raises(SystemExit) as stop:
        stopped.run()
    assert stop.value.code == 143
    assert not stopped.store.failures()
    before = len(ran(stopped))
    engine = make_engine(tmp_path, script)
    assert engine.run() == 0
    assert len(ran(engine)) < before + 4, "what was done is not done again"


def test_failed_units_are_retried_by_kind(tmp_path: Path) -> None:
    script = {"t0": {"fail": "x"}, "t1": {"nan": True}, "t2": {}}
    make_engine(tmp_path, script).run()
    engine = make_engine(tmp_path, script)
    before = len(ran(engine))
    assert engine.run(retry=["nan"]) == PARTIAL
    assert ran(engine)[before:] == [["t1"]]
    assert engine.run(retry=[]) == PARTIAL
    assert sorted(name for stack in ran(engine)[before + 1 :] for name in stack if len(stack) == 1) == ["t0", "t1"]


def test_a_stack_too_large_for_memory_is_halved_and_a_unit_gets_smaller_batches(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, {f"t{i}": {"memory": 3} for i in range(4)} | {"big": {"memory": 20, "alone": True}})
    assert engine.run() == 0
    lines = [json.loads(line) for line in (engine.study.folder / "log.jsonl").read_text().splitlines()]
    assert [(len(stack), divide) for stack, divide, _ in lines if "big" not in stack] == [(4, 1), (2, 1), (2, 1)]
    assert [divide for stack, divide, _ in lines if stack == ["big"]] == [1, 2, 4]


def test_a_hang_is_ended_and_the_others_finish(tmp_path: Path) -> None:
    from vdmfewshot.studies.settings import Executor

    script = {"t0": {}, "t1": {"sleep": 60, "alone": True}, "t2": {}}
    engine = make_engine(tmp_path, script, executor=Executor(timeout=0.5))
    assert engine.run() == PARTIAL
    assert summary(engine)["missing"]["t1"]["kind"] == "timeout"
    assert summary(engine)["done"] == 2


def test_a_task_that_cannot_be_read_counts_and_is_not_run(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, {"t0": {}, "t1": {"problem": "grid is ragged"}})
    assert engine.run() == PARTIAL
    assert ran(engine) == [["t0"]]
    assert summary(engine)["missing"]["t1"] == {"kind": "data", "reason": "grid is ragged"}


def test_two_drivers_give_one_result_a_unit(tmp_path: Path) -> None:
    script = {f"t{i}": {"sleep": 0.02, "alone": True} for i in range(20)}
    engines = [make_engine(tmp_path, script) for _ in range(2)]
    engines[0].manifest()
    threads = [threading.Thread(target=engine.run) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert summary(engines[0])["done"] == 20
    assert not list((tmp_path / "study" / "scratch").glob("*/*")), "the loser's drafts are gone"


def test_two_studies_share_a_root_and_nothing_else(tmp_path: Path) -> None:
    one, other = make_engine(tmp_path, TEN, name="one"), make_engine(tmp_path, TEN, name="other")
    one.run()
    before = sorted(path for path in (tmp_path / "one").rglob("*"))
    other.run()
    assert sorted(path for path in (tmp_path / "one").rglob("*")) == before
    assert len(ran(other)) == 3


@pytest.mark.parametrize("name", ["..", "-rf", "--help", "a/../../b", "<script>"])
def test_whatever_tasks_are_called_nothing_is_written_elsewhere(tmp_path: Path, name: str) -> None:
    engine = make_engine(tmp_path / "root", {name: {}})
    assert engine.run() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["study"]


def test_status_says_what_there_is_and_plans_nothing(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, {**TEN, "t4": {"fail": "no such thing"}})
    with pytest.raises(ValueError, match="nothing is planned"):
        engine.status()
    engine.run()
    engine.status()
    assert "study: 9/10 done, 1 failed; pass@2 mean 0.556, highest 1.000" in printed(engine)
    assert "t4 failed (error): ValueError: no such thing" in printed(engine)


def test_a_study_without_any_result_says_why(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, {"t0": {"fail": "no weights"}})
    with pytest.raises(ValueError, match="none of 1 units has a result.*no weights"):
        engine.run()


def test_wandb_hears_of_every_unit_and_gets_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network: a real offline run, whose records are read back."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    script = {**TEN, "t4": {"fail": "no such thing"}}
    engine = make_engine(tmp_path, script, wandb={"offline": True})
    assert engine.run() == PARTIAL
    assert wandb.run is None, "it is over"
    (run,) = (tmp_path / "study" / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    (table,) = run.rglob("*.table.json")
    content = json.loads(table.read_text())
    assert len(content["data"]) == 10
    status = content["columns"].index("status")
    assert sorted(row[status] for row in content["data"]) == ["done"] * 9 + ["failed"]


def test_the_time_left_is_that_of_units_however_many_end_at_once(tmp_path: Path) -> None:
    """The first of a stack to be counted has not taken as long as the whole stack."""
    engine = make_engine(tmp_path, TEN)
    manifest = engine.manifest()
    progress = Progress(manifest, {}, [], Console(file=io.StringIO()))
    progress.add(Outcome(manifest.units[0].id, 30.0, {"score": 1.0}))
    assert progress.line() == "1/10 done, about 4 min left; pass@2 mean 1.000, highest 1.000"
    progress.workers = 9
    assert "about 30 s left" in progress.line()
