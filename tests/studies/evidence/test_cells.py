"""Cells through the ordinary trainer, on a tiny checkpoint; results that are kept; runs that go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from tests.cli import instant
from tests.tiny_training import make_data, make_trainer
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.cli.evidence import evidence
from vdmfewshot.data.examples import safe_key
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.studies.evidence.cells import Cell, adapt_cells, cell_key, content_hash, make_module, run_cells, stacks
from vdmfewshot.studies.evidence.cells import make_data as data_of
from vdmfewshot.studies.evidence.results import Job, finished
from vdmfewshot.studies.evidence.run import cells_of, measure_all, plan, run_evidence
from vdmfewshot.studies.evidence.scratch import FullFineTuneModule
from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.evidence.tasks import TASKS, choose_tasks

FLIP = Cell("horizontal_flip", "pretrained", 2, 0)


@pytest.fixture
def settings(tiny: Path, tmp_path: Path) -> Settings:
    return Settings(
        tasks=["horizontal_flip"], methods=["pretrained", "scratch"], shots=[1, 2], seeds=[0, 1],
        out=str(tmp_path / "out"), backbone=str(tiny),
        size=32, steps=2, batch_size=2, queries=2, rank=2, lr=1e-2, sampling_steps=1,
        precision="32-true", accelerator="cpu",
    )  # fmt: skip


def adapt_one(cell: Cell, settings: Settings) -> dict[str, Any]:
    (result,) = adapt_cells([cell], settings)
    return result


# -- one cell -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pretrained", "random", "scratch"])
def test_a_cell_scores_every_query_and_repeats_itself(method: str, settings: Settings) -> None:
    cell = replace(FLIP, method=method)
    first, again = adapt_one(cell, settings), adapt_one(cell, settings)
    assert len(first["records"]) == settings.queries
    mean = sum(record["psnr_db"] for record in first["records"]) / settings.queries
    assert first["scores"]["psnr_db"] == pytest.approx(mean)
    assert (first["scores"], first["records"]) == (again["scores"], again["records"])
    assert not list(Path(settings.out).glob(".cell-*")), "working folders are removed"


def test_cells_of_a_stack_are_what_they_are_alone(settings: Settings) -> None:
    settings = replace(settings, steps=8, lr=0.05)
    cells = [FLIP, replace(FLIP, seed=1)]
    together, apart = adapt_cells(cells, settings), [adapt_one(cell, settings) for cell in cells]
    for a, b in zip(together, apart, strict=True):
        assert [r["key"] for r in a["records"]] == [r["key"] for r in b["records"]]
        assert a["scores"]["mae"] == pytest.approx(b["scores"]["mae"], abs=2e-5)
    assert abs(apart[0]["scores"]["mae"] - apart[1]["scores"]["mae"]) > 1e-4, "they differ"


def test_what_trains_side_by_side() -> None:
    plan = [Cell("zoom", m, n, s) for n in (1, 2) for m in ("baselines", "random", "scratch") for s in range(3)]
    plan += [Cell(task, "random", 3, 0) for task in TASKS if task.startswith("arc-")]
    groups = stacks(plan)
    assert [cell for group in groups for cell in group] == plan
    sizes = [(group[0].method, group[0].shots, len(group)) for group in groups if len(group) > 1]
    assert sizes == [("random", 1, 3), ("random", 2, 3), *[("random", 3, 16)] * 3, ("random", 3, 12)]


def test_methods_and_seeds_differ(settings: Settings) -> None:
    cells = [
        replace(FLIP, method=m, seed=s)
        for m, s in (("pretrained", 0), ("random", 0), ("scratch", 0), ("pretrained", 1))
    ]
    assert len({adapt_one(cell, settings)["scores"]["mae"] for cell in cells}) == 4


def test_methods_start_from_the_weights_they_name(settings: Settings) -> None:
    modules = {m: make_module(m, settings) for m in ("pretrained", "random", "scratch")}
    for module in modules.values():
        module.configure_model()
    prints = {m: module.backbone.fingerprint for m, module in modules.items()}
    assert prints["random"] == prints["scratch"] != prints["pretrained"]
    sizes = {m: sum(p.numel() for p in module.parameters() if p.requires_grad) for m, module in modules.items()}
    assert sizes["pretrained"] == sizes["random"] < sizes["scratch"]


def test_references_need_no_training(settings: Settings) -> None:
    baselines = run_cells([replace(FLIP, method="baselines")], settings)[0]["scores"]
    ceiling = run_cells([replace(FLIP, method="ceiling")], settings)[0]["scores"]
    assert (set(baselines), set(ceiling)) == ({"copy_input", "mean_target"}, {"ceiling"})
    data = data_of(FLIP, settings)
    data.setup()
    errors = [abs(p.image.astype(float) - p.target).mean() / 255 for p in data.queries("test")]
    assert baselines["copy_input"]["mae"] == pytest.approx(sum(errors) / len(errors), abs=1e-3)


def test_frames_are_kept_on_request(settings: Settings) -> None:
    adapt_one(FLIP, replace(settings, frames=True))
    kept = Path(settings.out) / "frames" / "horizontal_flip" / FLIP.name
    assert len(list(kept.glob("*.png"))) == settings.queries


def test_full_fine_tuning_trains_the_denoiser_and_nothing_else(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    module = FullFineTuneModule(
        CogVideoX(str(tiny), init="random"), LoraArgs(rank=4), optimizer=lambda p: torch.optim.AdamW(p, lr=1e-2)
    )
    module.configure_model()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    trainer = make_trainer(tmp_path, 3)
    trainer.fit(module, datamodule=make_data(pairs_root))
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if name.startswith("backbone.transformer.")}
    assert not [name for name in before if "lora" in name]
    assert module.state_dict().keys() == changed, "checkpoints hold what was trained"


# -- names of results -----------------------------------------------------------------------------------------------


def test_a_key_names_what_the_result_depends_on(settings: Settings) -> None:
    key = cell_key(FLIP, settings, "w", "c")
    for other in (
        cell_key(FLIP, settings, "v", "c"),
        cell_key(FLIP, settings, "w", "d"),
        cell_key(replace(FLIP, seed=1), settings, "w", "c"),
        *(cell_key(FLIP, replace(settings, **{k: v}), "w", "c") for k, v in {"steps": 3, "lr": 1.0, "rank": 3}.items()),
    ):
        assert other != key
    for free in ({"shots": [7]}, {"seeds": [9]}, {"out": "x"}, {"scratch_lr": 1.0}, {"frames": True}):
        assert cell_key(FLIP, replace(settings, **free), "w", "c") == key
    scratch = replace(FLIP, method="scratch")
    assert cell_key(scratch, settings, "w", "c") != cell_key(scratch, replace(settings, scratch_lr=1.0), "w", "c")


def test_content_follows_supports_and_queries(settings: Settings) -> None:
    def content(cell: Cell, **changed: Any) -> str:
        return content_hash(data_of(cell, replace(settings, **changed)))

    assert content(FLIP) == content(FLIP) == content(replace(FLIP, method="scratch"))
    assert (
        len({content(FLIP), content(replace(FLIP, seed=1)), content(replace(FLIP, shots=1)), content(FLIP, queries=3)})
        == 4
    )


# -- many cells -----------------------------------------------------------------------------------------------------


def synthetic(cells: Sequence[Cell], settings: Settings) -> list[dict[str, Any]]:
    """What measured cells look like."""
    return [synthetic_cell(cell) for cell in cells]


def synthetic_cell(cell: Cell) -> dict[str, Any]:
    scores = {"psnr_db": 10.0 + cell.seed, "ssim": 0.5}
    if cell.method in ("baselines", "ceiling"):
        names = ("copy_input", "mean_target") if cell.method == "baselines" else ("ceiling",)
        return {"scores": dict.fromkeys(names, scores), "records": {}, "seconds": 0.1}
    return {"scores": scores, "records": [], "seconds": 2.0, "fit_seconds": 1.0, "test_seconds": 1.0}


def test_the_plan_holds_every_cell_once_with_seeds_side_by_side(settings: Settings) -> None:
    jobs = plan(choose_tasks(["horizontal_flip", "zoom"]), settings)
    cells = [job.cell for job in jobs]
    assert len(cells) == len(set(cells)) == 2 * (1 + 2 * 2 * 3)
    assert len({job.file for job in jobs}) == len(jobs)
    trained = [cell for cell in cells if cell.method == "scratch"]
    assert [(c.shots, c.seed) for c in trained[:4]] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    (arc,) = choose_tasks(["arc-b1948b0a"])
    assert {(c.shots, c.seed) for c in cells_of(arc, settings) if c.method == "scratch"} == {(3, 0)}


def test_finished_cells_are_not_measured_again(settings: Settings) -> None:
    jobs, seen = plan([TASKS["horizontal_flip"]], settings), []

    def run(cells: Sequence[Cell], s: Settings) -> list[dict[str, Any]]:
        seen.extend(cells)
        return synthetic(cells, s)

    measure_all(jobs, settings, Console(quiet=True), run)
    assert [cell for cell in seen if seen.count(cell) == 1] == [j.cell for j in jobs if seen.count(j.cell) == 1]
    assert set(seen) == {job.cell for job in jobs}
    before = {job.file: job.file.read_bytes() for job in jobs}
    seen.clear()
    measure_all(jobs, settings, Console(quiet=True), run)
    assert not seen
    assert before == {job.file: job.file.read_bytes() for job in jobs}


def test_a_failed_cell_is_recorded_and_tried_again(settings: Settings) -> None:
    jobs = plan([TASKS["horizontal_flip"]], replace(settings, methods=["pretrained"], shots=[1]))
    bad = next(job for job in jobs if job.cell.method == "pretrained" and job.cell.seed == 1)

    def run(cells: Sequence[Cell], s: Settings) -> list[dict[str, Any]]:
        if bad.cell in cells:
            raise FloatingPointError("loss is nan")
        return synthetic(cells, s)

    measure_all(jobs, settings, Console(quiet=True), run)
    assert "loss is nan" in bad.failure.read_text()
    assert [job for job in jobs if not job.done] == [bad]
    measure_all(jobs, settings, Console(quiet=True), synthetic)
    assert bad.done
    assert not bad.failure.exists()
    assert len(finished(jobs)) == len(jobs)


def test_damaged_and_foreign_results_are_refused(tmp_path: Path) -> None:
    job = Job.of(tmp_path, FLIP, "abc")
    job.save({"scores": {"psnr_db": float("nan")}})
    assert job.load()["scores"]["psnr_db"] is None
    job.file.write_text(job.file.read_text().replace("abc", "abd"))
    with pytest.raises(ValueError, match="holds result abd, not abc"):
        job.load()
    for content in ("{", "[]", '{"key": 3}', '{"key": "abc", "task": "t", "method": "m", "seed": 0, "scores": NaN}'):
        job.file.write_text(content)
        with pytest.raises(ValueError, match=r"abc\.json .*; the cell is to be measured again"):
            job.load()
        with pytest.warns(UserWarning, match="to be measured again"):
            assert not job.done, "one bad result costs that result"


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command_runs_resumes_and_reports(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["-c", "experiments/evidence.yaml", "-c", "experiments/evidence-quick.yaml", "--out", settings.out]
    args += ["--backbone", settings.backbone, "--size", "32", "--queries", "2", "--steps", "1", "--rank", "2"]
    args += ["--tasks", "[horizontal_flip,life,arc-b1948b0a]", "--shots", "[1]", "--sampling_steps", "1"]
    summary = evidence(args)
    assert summary is not None
    out = Path(settings.out)
    assert summary.done == summary.expected == 2 * (1 + 2 * 3) + (1 + 1 + 2)
    assert {"table.md", "table.csv", "table.json", "figure.png", "figure.svg"} <= {f.name for f in out.iterdir()}
    assert "0 done, about" in capsys.readouterr().out
    files = {f: f.stat().st_mtime_ns for f in out.glob("results/**/*.json")}
    assert evidence(args) == summary
    assert files == {f: f.stat().st_mtime_ns for f in out.glob("results/**/*.json")}
    told = capsys.readouterr().out
    ((again, heavy),) = instant.answers([["evidence", *args, "--report_only"]], Path.cwd())
    assert again in told
    assert heavy == ["jsonargparse"], "unchanged results are reported without the libraries"
    content = json.loads((out / "table.json").read_text())
    assert content["settings"]["steps"] == 1
    assert {entry["row"] for entry in content["entries"]} == {"horizontal_flip", "life", "arc"}


def test_a_folder_of_pairs_is_measured_like_any_task(settings: Settings, pairs_root: Path) -> None:
    name = f"pairs:{pairs_root}"
    summary = run_evidence(replace(settings, tasks=[name], methods=["pretrained"], shots=[2]))
    assert summary.done == summary.expected == 1 + 2 * 2
    entry = summary.find(name, "psnr_db", "pretrained", 2)
    assert entry is not None
    assert entry.units == 2
    (folder,) = (Path(settings.out) / "results").iterdir()
    assert folder.name == safe_key(name)
    assert not list(folder.glob("*.failed.txt"))


def test_a_folder_with_too_few_pairs_is_refused_before_training(settings: Settings, pairs_root: Path) -> None:
    with pytest.raises(ValueError, match="shots must be at most 6"):
        run_evidence(replace(settings, tasks=[f"pairs:{pairs_root}"], shots=[10]))


def test_unmeasured_is_said(settings: Settings) -> None:
    summary = run_evidence(settings, measure=False)
    assert (summary.done, summary.expected) == (0, 13)
    assert "0 of 13 results" in (Path(settings.out) / "table.md").read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--tasks", "[zom]"], "tasks must be among all"),
        (["--shots", "[31]"], "shots must be 1 to 30"),
        (["--seeds", "[1,1]"], "seeds must be one or more different values"),
        (["--steps", "0"], "steps must be at least 1"),
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
