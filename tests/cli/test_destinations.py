"""A file alone cannot make a run write outside of the working folder; the person at the command line can."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
from lightning.pytorch import Trainer

from tests.runs import options, run
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.cli.command import main
from vdmfewshot.cli.destinations import WRITTEN, check_destinations, is_outside, typed

#: arguments of allowed classes that sound like a place and are read, never written, or are no place
READ = {
    *("path", "root", "images", "annotations", "test_images", "test_annotations", "adapter", "source", "ckpt_path"),
    *("every_n_train_steps", "save_top_k", "file", "folder", "location", "output", "profile_memory", "outputs"),
    *("hold_out", "leave_out", "left_out", "save_to_log_dir"),
    "nvme_path",  # refused altogether, see allowlist.REFUSED
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: CogVideoX) -> None:
        raise AssertionError("weights were read before the file was refused")

    monkeypatch.setattr(CogVideoX, "load", load)


FILES = {
    "name": "name: ../../x",
    "absolute name": "name: /x",
    "root": "trainer: {default_root_dir: ../x}",
    "home": "trainer: {default_root_dir: ~/x}",
    "variable": "trainer: {default_root_dir: $HOME/x}",
    "bucket": "trainer: {default_root_dir: 's3://elsewhere/x'}",
    "chained address": "trainer: {default_root_dir: 'simplecache::ftp://elsewhere/x'}",
    "csv": "trainer: {logger: {class_path: CSVLogger, init_args: {save_dir: /x}}}",
    "csv in a list": "trainer: {logger: [{class_path: CSVLogger, init_args: {save_dir: runs, name: ../../x}}]}",
    "csv version": "trainer: {logger: [{class_path: CSVLogger, init_args: {save_dir: runs, version: ../../x}}]}",
    "wandb": "trainer: {logger: {class_path: ResilientWandbLogger, init_args: {save_dir: ../x, mode: offline}}}",
    "checkpoints": "trainer: {callbacks+: [{class_path: ModelCheckpoint, init_args: {dirpath: ../x}}]}",
    "checkpoint name": "trainer: {callbacks+: [{class_path: ModelCheckpoint, init_args: {filename: ../../x}}]}",
    "profiler": "trainer: {profiler: {class_path: SimpleProfiler, init_args: {dirpath: /x, filename: y}}}",
    "cache": "model: {init_args: {cache_dir: ../x}}",
    "text in a file": "trainer: '{default_root_dir: ../x}'",
    "consent in the file": "{write_outside: true, name: ../../x}",
}


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("text", FILES.values(), ids=list(FILES))
def test_files_cannot_name_places_outside(text: str, here: Path, tiny: Path, pairs_root: Path) -> None:
    (here / "c.yaml").write_text(text)
    args = [*options(tiny, here / "runs", pairs_root), "-c", "c.yaml"]
    # Without what would override the file.
    at = args.index("--trainer.default_root_dir")
    with pytest.raises(ValueError, match="must lie in the working folder if a file says so, got"):
        main(["fit", *args[:at], *args[at + 2 :]])
    assert {entry.name for entry in here.parent.iterdir()} == {"work"}
    assert {entry.name for entry in here.iterdir()} == {"c.yaml"}


@pytest.mark.parametrize("consent", [["--write_outside=true"], ["--trainer.default_root_dir", "../x"]])
def test_the_person_at_the_command_line_can(consent: list[str], here: Path, tiny: Path, pairs_root: Path) -> None:
    (here / "c.yaml").write_text("trainer: {default_root_dir: ../x}")
    args = options(tiny, here / "runs", pairs_root)
    at = args.index("--trainer.default_root_dir")
    run("fit", *args[:at], *args[at + 2 :], "-c", "c.yaml", *consent)
    (saved,) = (file.read_text() for file in (here.parent / "x").glob("*/version_0/config.yaml"))
    assert "write_outside: false" in saved, "consent is given anew for every run"


@pytest.mark.parametrize(
    ("value", "outside"),
    [
        *[(name, False) for name in ("runs", "./runs", "a/../b", "runs/..", ".", "", "..a", "a..", "nuclei: 3/5")],
        *[
            (name, True)
            for name in ("..", "../x", "/x", "a/../../x", "~/x", "~", "s3://x", "a::b", "$NOT_SET_AT_ALL/x")
        ],
    ],
)
def test_outside_is_what_leaves_the_working_folder(value: str, outside: bool, here: Path) -> None:
    assert is_outside(value) == outside


def test_links_out_of_the_working_folder_are_the_users_own(here: Path) -> None:
    (here / "runs").symlink_to(here.parent)
    assert not is_outside("runs/x")


def test_only_the_command_line_itself_is_consent() -> None:
    args = [
        "fit",
        "-c",
        "file.yaml",
        "--name=/a",
        "--trainer.default_root_dir",
        "/b",
        "--trainer.logger+",
        '{"save_dir": "/c"}',
    ]
    for key, value in (("name", "/a"), ("default_root_dir", "/b"), ("save_dir", "/c")):
        assert (key, value) in typed(args)
        check_destinations({"any": [{key: value}]}, args)
    with pytest.raises(ValueError, match="dirpath must lie in the working folder"):
        check_destinations({"dirpath": "/a"}, args)  # consent to another option


def test_every_argument_that_sounds_like_a_place_is_known() -> None:
    """A new option that writes somewhere is added to WRITTEN, or to READ above if it does not."""
    from tests.cli.test_allowlist import allowed_classes

    sounds = re.compile(r"(^|_)(dir|path|dirpath|file|filename|folder|root|location|out|output|outputs)(_|$)")
    classes = [Trainer, *allowed_classes()]
    found = {name for cls in classes for name in inspect.signature(cls).parameters if sounds.search(name)}
    assert found - {*WRITTEN, *READ} == set()
    assert {"default_root_dir", "dirpath", "save_dir", "cache_dir"} <= found


STUDIES = {
    "out": "{base: [nuclei], out: ../x}",
    "setting": "{base: [nuclei], set: {model.cache_dir: ../x}}",
    "text": "{base: [nuclei], set: {trainer.logger: '{class_path: CSVLogger, init_args: {save_dir: ../x}}'}}",
    "axis": "{base: [nuclei], axes: {model.cache_dir: [cache, ../x]}}",
    "words": "{base: [nuclei], args: [--trainer.default_root_dir, ../x]}",
    "consent": "{base: [nuclei], args: [--write_outside=true], set: {model.cache_dir: ../x}}",
}


@pytest.mark.parametrize("text", STUDIES.values(), ids=list(STUDIES))
def test_files_of_studies_cannot_either(text: str, here: Path) -> None:
    (here / "s.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"must lie in the working folder|must stand on the command line itself"):
        main(["study", "-c", "s.yaml"])
    sweep = {"parameters": {"model.cache_dir": {"values": ["cache", "../x"]}}, "method": "grid"}
    (here / "sweep.yaml").write_text(json.dumps({**sweep, "command": ["vdmfewshot", "adapt", "-c", "nuclei"]}))
    with pytest.raises(ValueError, match=r"cache_dir must lie in the working folder.* got '\.\./x'"):
        main(["study", "--sweep", "sweep.yaml"])
    assert {entry.name for entry in here.parent.iterdir()} == {"work"}


def test_nor_can_files_of_the_evidence(here: Path) -> None:
    (here / "e.yaml").write_text("out: ../x")
    with pytest.raises(ValueError, match="out must lie in the working folder"):
        main(["evidence", "-c", "e.yaml", "--report_only=true"])
    assert {entry.name for entry in here.parent.iterdir()} == {"work"}


def test_the_person_who_starts_a_study_can(here: Path) -> None:
    (here / "s.yaml").write_text("{base: [nuclei], out: ../x}")
    for consent in (["--out=../x"], ["--write_outside=true"], ["--out", "../y"]):
        with pytest.raises(ValueError, match="nothing is planned in"):
            main(["study", "status", "-c", "s.yaml", *consent])
