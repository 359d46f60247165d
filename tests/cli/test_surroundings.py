"""Runs in unkind surroundings: no hub, no place to write, secrets in the environment (fault tests W8, X6 and X7)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.backbones.test_prompt import add_text_encoder
from tests.runs import options, run
from vdmfewshot.backbones import checkpoint
from vdmfewshot.cli.command import main
from vdmfewshot.cli.front import run as shell


@pytest.fixture
def offline_hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``HF_HUB_OFFLINE=1`` and a cache, as the hub's client keeps it, that holds ``owner/present``."""
    commit, model = "0" * 40, tmp_path / "hub" / "models--owner--present"
    add_text_encoder(shutil.copytree(tiny, model / "snapshots" / commit))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def call(url: str) -> bool:
        raise AssertionError(f"{url} was called")

    monkeypatch.setattr(checkpoint, "reachable", call)
    return tmp_path / "hub"


@pytest.mark.usefixtures("offline_hub")
def test_offline_a_missing_model_is_named_with_what_to_fetch(
    tiny: Path, pairs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = options(tiny, tmp_path / "runs", pairs_root)
    with pytest.raises(SystemExit) as stop:
        shell(["fit", *args, "--model.backbone.path=owner/missing"])
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert "of 'owner/missing' from the hub" in told
    assert "`hf download owner/missing`" in told
    assert "Traceback" not in told


@pytest.mark.usefixtures("offline_hub")
def test_offline_a_present_model_works(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    args = options(tiny, tmp_path / "runs", pairs_root)
    cli = run("fit", *args, "--model.backbone.path=owner/present", "--trainer.max_steps=1")
    assert cli.trainer.global_step == 1


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A small disk of its own."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder may be read only."""
    with disk(tmp_path / "locked", "ro,size=100k") as folder:
        monkeypatch.chdir(folder)
        yield folder
        os.chdir(tmp_path)


@pytest.mark.parametrize("kilobytes", [8, 24, 60])
def test_a_disk_that_fills_up_ends_a_run_with_its_own_status(
    kilobytes: int, tiny: Path, pairs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with disk(tmp_path / "small", f"size={kilobytes}k") as small, pytest.raises(SystemExit) as stop:
        shell(["adapt", *options(tiny, small / "runs", pairs_root)])
    assert stop.value.code == os.EX_IOERR
    told = capsys.readouterr().err
    assert "error: disk full: " in told
    assert "free some space and start again" in told
    assert "Traceback" not in told


@pytest.mark.usefixtures("locked")
def test_a_read_only_working_folder_needs_a_place_elsewhere(
    tiny: Path, pairs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = options(tiny, tmp_path / "mes données" / "sor tie", pairs_root)
    cli = run("adapt", *args)
    assert cli.trainer.global_step == 2
    assert list((tmp_path / "mes données/sor tie").rglob("scores.json"))
    at = args.index("--trainer.default_root_dir")
    with pytest.raises(SystemExit) as stop:
        shell(["adapt", *args[:at], *args[at + 2 :]])
    assert stop.value.code == os.EX_IOERR
    assert "cannot be written: the folder is read-only; choose one that you may write to" in capsys.readouterr().err


def test_secrets_are_in_no_report(
    tiny: Path, pairs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "MY_PASSWORD"):
        monkeypatch.setenv(name, f"canary-{name}")
    run("adapt", *options(tiny, tmp_path / "runs", pairs_root), "--name=mine")
    main(["report", str(tmp_path / "runs"), f"--html={tmp_path / 'page.html'}"])
    said = capsys.readouterr()
    assert "psnr_db" in said.out
    assert (tmp_path / "page.html").stat().st_size > 10_000
    texts = [said.out.encode(), said.err.encode(), *(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())]
    assert len(texts) > 15
    assert not any(b"canary-" in text for text in texts)
