"""Everything that ships and is not ours is credited, with its licence."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "vdmfewshot/data/samples"
MANIFEST = json.loads((SAMPLES / "MANIFEST.json").read_text(encoding="utf-8"))
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
#: SPDX name → as NOTICE writes it, and words of its text, which ships
LICENCES = {
    "BSD-3-Clause": ("BSD 3-Clause License", NOTICE, "Neither the name of the copyright holder nor the names of its"),
    "Apache-2.0": ("Apache License, Version 2.0", (ROOT / "LICENSE").read_text(encoding="utf-8"), "TERMS AND COND"),
}
#: folders with data of ours, and the file that says how they were made
OURS = {"vdmfewshot/backbones/embedded": "README.md"}
#: written by hand, or by a script of ours, like code
WRITTEN = (".py", "py.typed", ".j2", "cli/schema.json")


def credit(name: str) -> str:
    """The paragraph of NOTICE that speaks of a sample."""
    found = [p for p in re.split(r"\n\s*\n|-{20,}\n", NOTICE) if re.search(rf"samples/{re.escape(name)}(?![\w-])", p)]
    assert found, f"NOTICE has no paragraph on samples/{name}"
    return found[0]


@pytest.mark.parametrize("name", sorted(entry.name for entry in SAMPLES.iterdir() if entry.is_dir()))
def test_every_sample_is_credited_with_package_version_holder_and_licence(name: str) -> None:
    source, licence = MANIFEST[name]["source"], MANIFEST[name]["licence"]
    written, text, words = LICENCES[licence]
    paragraph = " ".join(credit(name).split())
    assert source["package"].lower() in paragraph.lower()
    assert source["version"] in paragraph
    assert written in paragraph
    assert "https://" in paragraph
    assert words in text
    if licence == "BSD-3-Clause":
        assert re.search(r"Copyright \(c\) \d{4}", paragraph), "BSD asks for the holder's own line"


def test_nothing_else_that_is_no_code_ships() -> None:
    """A new picture or file of weights has an entry in MANIFEST.json, or a folder of ours that says how it was made."""
    listed = subprocess.run(["git", "ls-files", "vdmfewshot"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no checkout")
    data = [Path(file) for file in listed.stdout.splitlines() if not file.endswith(WRITTEN)]
    assert len(data) > 300
    ours = {folder for folder, made in OURS.items() if (ROOT / folder / made).is_file()}
    credited = {f"{name}/{inner}" for name, entry in MANIFEST.items() for inner in entry["files"]}
    samples = SAMPLES.relative_to(ROOT)
    for file in data:
        known = file == samples / "MANIFEST.json" or any(file.is_relative_to(folder) for folder in ours)
        assert known or file.as_posix().removeprefix(f"{samples.as_posix()}/") in credited


def test_models_that_drew_labels_are_credited() -> None:
    for entry in MANIFEST.values():
        for model in re.findall(r"MediaPipe|OpenPose", entry["note"]):
            assert model in NOTICE


def test_both_files_ship() -> None:
    assert 'license-files = ["LICENSE", "NOTICE"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_security_names_tests_that_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/.]+)`", text)
    assert len(named) >= 7
    assert all((ROOT / path).exists() for path in named)
    assert re.search(r"^## Reporting$", text, flags=re.MULTILINE)
