"""The built wheel, away from the checkout: experiments, samples and weights come with it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
MIB = 2**20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_holds_what_it_needs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for needed in (
        "vdmfewshot/experiments/nuclei.yaml",
        "vdmfewshot/experiments/model/embedded.yaml",
        "vdmfewshot/data/samples/MANIFEST.json",
        "vdmfewshot/backbones/embedded/transformer/config.json",
        "vdmfewshot/backbones/embedded/vae/config.json",
    ):
        assert needed in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"vdmfewshot"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".ckpt")]
    assert wheel.stat().st_size < 70 * MIB, "weights of at most 50 MB and a few MB of samples"


def test_the_installed_package_runs_its_first_command_anywhere(wheel: Path, tmp_path: Path) -> None:
    site, here = tmp_path / "site", tmp_path / "elsewhere"
    here.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    # -P keeps the checkout, which may be the working directory of the tests, out of the module search path.
    where = [sys.executable, "-P", "-c", "import vdmfewshot; print(vdmfewshot.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    found = subprocess.run(where, cwd=here, env=environment, check=True, capture_output=True, text=True).stdout
    assert found.startswith(str(site))
    command = [sys.executable, "-m", "vdmfewshot", "adapt", "-c", "experiments/nuclei.yaml"]
    command += ["-c", "experiments/overlay/debug.yaml", "--name", "first"]
    subprocess.run(command, cwd=here, env=environment, check=True, capture_output=True, text=True)
    assert (here / "runs/first/version_0/scores/test/step=2/scores.json").is_file()
    assert (here / "runs/first/version_0/adapter/pytorch_lora_weights.safetensors").is_file()
