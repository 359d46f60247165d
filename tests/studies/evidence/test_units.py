"""The evidence as a study, on a tiny checkpoint: units, methods, what is shared, runs that go on."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli import instant
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.callbacks.references import CEILING, References
from vdmfewshot.cli.evidence import compare, evidence
from vdmfewshot.cli.pages.runs import read_run
from vdmfewshot.cli.report import find_scores
from vdmfewshot.cli.runner import CommandLineAdapter
from vdmfewshot.data.evidence import TASKS, choose_tasks
from vdmfewshot.metrics.records import read_records, recompute
from vdmfewshot.studies.evidence.settings import METHODS, Settings
from vdmfewshot.studies.evidence.units import expected, points, results_of, study_of
from vdmfewshot.studies.store import Store
from vdmfewshot.studies.units import Manifest, Unit

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "docs" / "results" / "evidence"
FULL = ["-c", str(ROOT / "experiments" / "evidence.yaml")]


def tiny_settings(tiny: Path, out: Path, **changes: Any) -> Settings:
    settings = Settings(
        tasks=["horizontal_flip"], methods=list(METHODS), shots=[2], seeds=[0, 1], out=str(out),
        backbone=str(tiny), size=32, steps=3, batch_size=2, queries=2, rank=2, lr=1e-2, sampling_steps=1,
        precision="32-true", accelerator="cpu",
    )  # fmt: skip
    return replace(settings, **changes)


@pytest.fixture(scope="module")
def measured(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of an evidence that has run."""
    settings = tiny_settings(tiny, tmp_path_factory.mktemp("evidence") / "out", frames=True)
    with pytest.MonkeyPatch.context() as patch:
        stacks = watch(patch)
        summary = compare(settings)
    assert summary.done == summary.expected == 2 * 4 + 1
    # Adapters train side by side, and whole models alone.
    assert sorted((stack[0]["method"], len(stack)) for stack in stacks) == [
        *(("pretrained", 2), ("random", 2), ("scratch", 1), ("scratch", 1))
    ]
    return settings


def units_of(settings: Settings) -> tuple[list[Unit], Store]:
    manifest = Manifest.read(Path(settings.out))
    assert manifest is not None
    return manifest.units, Store(Path(settings.out))


def found(settings: Settings, method: str, seed: int = 0) -> tuple[Unit, Path]:
    units, store = units_of(settings)
    point = {"method": method, "shots": 2, "support_seed": seed}
    (unit,) = (unit for unit in units if unit.point == point)
    return unit, store.place(unit.id)


def watch(patch: pytest.MonkeyPatch) -> list[list[Mapping[str, Any]]]:
    """The points of every stack that runs."""
    stacks: list[list[Mapping[str, Any]]] = []
    run = CommandLineAdapter.run

    def noted(self: CommandLineAdapter, stack: Sequence[Unit], *args: Any) -> Any:
        stacks.append([unit.point for unit in stack])
        return run(self, stack, *args)

    patch.setattr(CommandLineAdapter, "run", noted)
    return stacks


# -- what the units are ---------------------------------------------------------------------------------------------


def test_the_grid_holds_every_method_shots_and_support_set_once() -> None:
    settings = Settings(shots=[1, 3], seeds=[0, 1], arc_shots=[3], arc_seeds=[0])
    tasks = choose_tasks(["zoom", "life", "arc"])
    grid = list(points(tasks, settings))
    assert [len(point["tasks"]) for point in grid] == [2] * 2 * 2 * 3 + [60] * 3
    assert {(p["shots"], p["support_seed"]) for p in grid if len(p["tasks"]) == 60} == {(3, 0)}
    assert expected(tasks, settings) == 2 * (2 * 2 * 4 + 1) + 60 * (4 + 1)
    full = Settings()
    assert expected(choose_tasks(["all"]), full) == 2219


def test_methods_and_support_sets_differ(measured: Settings) -> None:
    units, store = units_of(measured)
    assert len({unit.id for unit in units}) == len(units) == 6
    texts = {(store.place(unit.id) / "records.jsonl").read_bytes() for unit in units}
    assert len(texts) == len(units)


def test_every_query_is_scored_by_every_unit(measured: Settings) -> None:
    _, place = found(measured, "scratch")
    records = read_records(place)
    assert len(records) == measured.queries
    score = json.loads((place / "scores.json").read_text())["scores"]["psnr_db"]
    assert score["score"] == pytest.approx(sum(record["psnr_db"] for record in records) / len(records))
    assert len(list((place / "frames").glob("*.png"))) == measured.queries, "frames are kept on request"


def test_a_whole_model_that_was_trained_does_not_serve_the_next_unit(measured: Settings, tmp_path: Path) -> None:
    """All of them run in one process, which keeps frozen models: alone, each gives the same to the last bit."""
    last, place = found(measured, "scratch", 1)
    shutil.copytree(Path(measured.out) / "configs", tmp_path / "configs")
    (tmp_path / "scratch").mkdir()
    CommandLineAdapter(tmp_path).run([last], tmp_path / "scratch", 1)
    again = (tmp_path / "scratch" / last.id / "records.jsonl").read_bytes()
    assert again == (place / "records.jsonl").read_bytes()


def test_trivial_answers_and_ceilings_count_once_for_all_units_that_share_them(measured: Settings) -> None:
    manifest = Manifest.read(Path(measured.out))
    assert manifest is not None
    results = results_of(manifest, Store(Path(measured.out)))
    names = [(r["task"], r["method"], r["shots"], r["seed"]) for r in results]
    assert len(names) == len(set(names)) == 9
    (ceiling,) = (r for r in results if r["method"] == "ceiling")
    _, place = found(measured, "random", 1)
    rows = json.loads((place / "scores.json").read_text())["scores"]
    assert ceiling["scores"]["ceiling"]["psnr_db"] == rows["psnr_db"]["ceiling"]


# -- runs that go on --------------------------------------------------------------------------------------------------


def test_finished_units_are_not_run_again_and_lost_ones_are(
    measured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks, before = watch(monkeypatch), (Path(measured.out) / "table.csv").read_bytes()
    compare(measured)
    assert stacks == []
    unit, place = found(measured, "random", 1)
    (place / "DONE").unlink()
    compare(measured)
    assert stacks == [[unit.point]]
    assert [line["row"] for line in csv.DictReader((Path(measured.out) / "table.csv").open())]
    assert (Path(measured.out) / "table.csv").read_text().count("\n") == before.decode().count("\n")


def test_other_seeds_shots_and_places_keep_what_there_is(measured: Settings, tmp_path: Path) -> None:
    study = study_of([TASKS["horizontal_flip"]], measured)
    shutil.copytree(study.folder, tmp_path / "copy")
    wider = replace(measured, out=str(tmp_path / "copy"), seeds=[0], shots=[2], scratch_lr=5e-3, methods=["pretrained"])
    summary = compare(wider, measure=False)
    assert (summary.done, summary.expected) == (3, 3)
    changed = compare(replace(wider, steps=4), measure=False)
    assert changed.done == 0


# -- the committed table ----------------------------------------------------------------------------------------------


def test_the_committed_numbers_are_shown_again_without_training(tmp_path: Path) -> None:
    """Their results were measured by an earlier version, and only the table is kept: it is read back."""
    shutil.copy(COMMITTED / "table.csv", tmp_path)
    summary = evidence([*FULL, "--out", str(tmp_path), "--report_only", "true"])
    assert summary is not None
    assert (summary.done, summary.expected) == (2219, 2219)
    assert (tmp_path / "table.csv").read_bytes() == (COMMITTED / "table.csv").read_bytes()
    mine, theirs = ((folder / "table.md").read_text().splitlines() for folder in (tmp_path, COMMITTED))
    assert [line for line in mine if line.startswith("|")] == [line for line in theirs if line.startswith("|")]
    assert mine[2:5] == theirs[2:5], "the verdict"
    assert "2219 of 2219 results. Means over support sets [95 %, as they are in table.csv]" in "\n".join(mine)
    assert (tmp_path / "figure.png").stat().st_size > 100_000


def test_a_damaged_table_is_refused_by_name(tmp_path: Path) -> None:
    text = (COMMITTED / "table.csv").read_text().splitlines()
    (tmp_path / "table.csv").write_text("\n".join([*text[:3], text[3].replace("13.9", "x13.9")]))
    with pytest.raises(ValueError, match=r"table\.csv is damaged \(could not convert"):
        evidence([*FULL, "--out", str(tmp_path), "--report_only", "true"])


def test_what_needs_no_training_comes_out_as_committed() -> None:
    """Copy-input and the ceiling, as every unit measures them: data, metrics and VAE are still those."""
    with (COMMITTED / "table.csv").open() as stream:
        rows = {(e["row"], e["score"], e["method"], int(e["shots"])): float(e["mean"]) for e in csv.DictReader(stream)}
    backbone = CogVideoX("embedded")
    backbone.load()
    for name in ("nuclei", "life"):
        data = TASKS[name].data(shots=3, height=64, width=64, num_frames=5, transition="immediate", max_queries=12)
        data.setup()
        references = References((CEILING, "copy_input"))
        for batch in data.test_dataloader():
            references.add(batch, data, backbone, data.make_metric())
        for method, records in references.gathered().items():
            found = recompute(records, data.make_metric())
            for score in TASKS[name].scores:
                committed = rows[name, score, method, 0 if method == CEILING else 3]
                assert found[score] == pytest.approx(committed, rel=1e-3), (name, method, score)


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command_runs_resumes_and_reports(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [*FULL, "-c", str(ROOT / "experiments" / "evidence-quick.yaml"), "--out", str(tmp_path / "out")]
    args += ["--backbone", str(tiny), "--size", "32", "--queries", "2", "--steps", "1", "--rank", "2"]
    args += ["--tasks", "[life,arc-b1948b0a]", "--shots", "[1]", "--sampling_steps", "1"]
    summary = evidence(args)
    assert summary is not None
    out = tmp_path / "out"
    assert summary.done == summary.expected == (1 + 2 * 3) + (1 + 1 + 2)
    assert {"table.md", "table.csv", "table.json", "figure.png", "figure.svg"} <= {f.name for f in out.iterdir()}
    assert "0 done, 0 failed, 6 to go" in capsys.readouterr().out
    files = {f: f.stat().st_mtime_ns for f in out.glob("units/*/*/*")}
    assert evidence(args) == summary
    assert files == {f: f.stat().st_mtime_ns for f in out.glob("units/*/*/*")}
    told = capsys.readouterr().out
    ((again, heavy),) = instant.answers([["evidence", *args, "--report_only"]], Path.cwd())
    assert again
    assert again in told
    assert heavy == ["jsonargparse"], "unchanged results are reported without the libraries"
    content = json.loads((out / "table.json").read_text())
    assert content["settings"]["steps"] == 1
    assert {entry["row"] for entry in content["entries"]} == {"life", "arc"}
    shown = [read_run(folder, scores) for folder, scores in find_scores(out).items()]
    assert Counter(run.task for run in shown) == {"life": 4, "arc-b1948b0a": 2}, "the page shows each unit as a run"
    assert all(run.samples for run in shown)


def test_a_folder_of_pairs_is_measured_like_any_task(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    name = f"pairs:{pairs_root}"
    settings = tiny_settings(tiny, tmp_path / "out", tasks=[name], methods=["pretrained"], shots=[2], steps=1)
    summary = compare(settings)
    assert summary.done == summary.expected == 1 + 2 * 2
    entry = summary.find(name, "psnr_db", "pretrained", 2)
    assert entry is not None
    assert entry.units == 2
    with pytest.raises(ValueError, match="shots must be at most 6"):
        compare(replace(settings, shots=[10], out=str(tmp_path / "few")))


def test_unmeasured_is_said(tiny: Path, tmp_path: Path) -> None:
    summary = compare(tiny_settings(tiny, tmp_path / "out", methods=["pretrained"], shots=[1]), measure=False)
    assert (summary.done, summary.expected) == (0, 5)
    assert "0 of 5 results" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--tasks", "[zom]"], "tasks must be among all"),
        (["--shots", "[31]"], "shots must be 1 to 30"),
        (["--seeds", "[1,1]"], "seeds must be one or more different values"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--executor.kind", "ray", "--executor.workers", "0"], "executor.workers must be a number above 0"),
    ],
)
def test_mistakes_are_named_before_weights_are_read(args: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        evidence([*args, "--backbone", str(tmp_path / "nothing"), "--out", str(tmp_path)])


def test_misspelt_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        evidence(["--stepz", "3"])
    assert stop.value.code == 2
    assert "did you mean steps" in capsys.readouterr().err
