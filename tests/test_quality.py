"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked() -> list[Path]:
    """Files of the project: what git tracks, or everything in an unpacked archive."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    folders = ("vdmfewshot", "tests", "experiments")
    return [file for folder in folders for file in (ROOT / folder).rglob("*") if file.is_file()]


FILES = tracked()
SOURCES = [file for file in FILES if file.suffix == ".py"]
TEXTS = [
    f for f in FILES if f.suffix in {".py", ".md", ".yaml", ".toml", ".ipynb", ".json", ""} and f.name != "LICENSE"
]


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy"])
def test_linters(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_type_checker_sees_the_public_names_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "user.py"
    file.write_text("import vdmfewshot as vdm\nreveal_type(vdm.adapt)\nreveal_type(vdm.LTXVideo)\nvdm.adopt\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "-> vdmfewshot.api.Adapted" in done.stdout, done.stdout
    assert "LtxVideo" in done.stdout
    assert 'user.py:4: error: Module has no attribute "adopt"' in done.stdout


LIMIT = 300


def test_files_are_short_and_named_for_what_they_do() -> None:
    assert len(SOURCES) > 50
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in SOURCES}
    assert not {name: n for name, n in lengths.items() if n > LIMIT}
    assert not {"utils.py", "common.py", "helpers.py", "misc.py"} & {f.name for f in SOURCES}


def test_every_module_of_the_package_says_what_it_is_for() -> None:
    for file in SOURCES:
        if "vdmfewshot" in file.relative_to(ROOT).parts[:1] and file.read_text().strip():
            assert ast.get_docstring(ast.parse(file.read_text())), file


#: in the order in which a pair passes them; a room imports from rooms before it
ROOMS = (
    *("storage", "clips", "codecs", "metrics", "drawing", "data", "budget", "backbones", "lora", "training"),
    *("callbacks", "studies", "pretrain", "cli"),
)


def test_rooms_import_from_rooms_before_them_alone() -> None:
    package = ROOT / "vdmfewshot"
    assert {file.relative_to(package).parts[0] for file in package.glob("*/**/*.py")} <= {*ROOMS, "experiments"}
    upwards = [
        f"{file.relative_to(ROOT)}: {module}"
        for file in package.glob("*/**/*.py")
        for module in imported(file)
        if module.startswith("vdmfewshot.") and later(module.split(".")[1], file.relative_to(package).parts[0])
    ]
    assert not upwards


def imported(file: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return [*names, *(node.module or "" for node in nodes if isinstance(node, ast.ImportFrom))]


def later(room: str, than: str) -> bool:
    return room in ROOMS and ROOMS.index(room) > ROOMS.index(than)


#: written so that this file does not match itself
FORBIDDEN = {
    "paths of one machine": r"(?<![\w.])/(?:work|root|tmp)/\w",
    "registry hosts": r"(?:pypi|pythonhosted|download\.pytorch)\.(?:org|io)|--index-" r"url http|--extra-" r"index",
    "unfinished work": r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b",
    "credentials": r"\b(?:hf_[A-Za-z0-9]{30,}|[0-9a-f]{40}@api\.wandb)",
}


def written(file: Path) -> str:
    """A file's text; of a notebook without its pictures, whose letters mean nothing."""
    text = file.read_text(encoding="utf-8")
    return re.sub(r'"image/png": "[^"]*"', "", text) if file.suffix == ".ipynb" else text


@pytest.mark.parametrize("name", list(FORBIDDEN))
def test_no_file_holds(name: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in TEXTS
        for match in re.finditer(FORBIDDEN[name], written(file))
    ]
    assert not found


def test_nothing_unpickles_or_evaluates() -> None:
    """Weights come from safetensors, checkpoints through weights_only, configurations through a safe loader."""
    calls = {"pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "eval", "exec", "os.system"}
    for file in SOURCES:
        if file.relative_to(ROOT).parts[0] != "vdmfewshot":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in calls, f"{file}:{node.lineno}"
                unsafe = [k for k in node.keywords if k.arg in {"allow_pickle", "trust_remote_code"}]
                assert all(isinstance(k.value, ast.Constant) and k.value.value is False for k in unsafe), file


#: the one strict reader of each format, with limits, file and remedy in its messages
READERS = {"json.load": "documents.py", "json.loads": "documents.py", "yaml.safe_load": "limited_yaml.py"}


def test_json_and_yaml_are_read_in_one_place() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in (ROOT / "vdmfewshot").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and READERS.get(ast.unparse(node.func), file.name) != file.name
    ]
    assert not found


# -- versions (X5): the first release without a published vulnerability, or with an API that we call -------------------

FLOORS = {"torch": "2.10", "lightning": "2.6", "diffusers": "0.38", "transformers": "5.3", "pillow": "11.3"}


def requirements() -> dict[str, Requirement]:
    return {r.name: r for r in map(Requirement, PYPROJECT["project"]["dependencies"])}


@pytest.mark.parametrize("name", list(FLOORS))
def test_lower_bounds_exclude_vulnerable_releases(name: str) -> None:
    allowed = requirements()[name].specifier
    (floor,) = [Version(s.version) for s in allowed if s.operator == ">="]
    assert floor >= Version(FLOORS[name])


def test_compromised_releases_are_excluded() -> None:
    allowed = requirements()["lightning"].specifier
    assert not {"2.6.2", "2.6.3"} & set(allowed.filter(["2.6.0", "2.6.2", "2.6.3", "2.6.6"]))
    assert "2.6.6" in allowed


def test_every_lower_bound_is_met_here_and_has_a_bound() -> None:
    from importlib.metadata import version

    for name, requirement in requirements().items():
        assert any(s.operator == ">=" for s in requirement.specifier), name
        assert requirement.specifier.contains(version(name), prereleases=True), name


def test_what_no_checker_sees_has_a_reason_beside_it() -> None:
    """``type: ignore`` names its code, and a comment there or above, why; an assertion says on what it relies."""
    silent = re.compile(r"# type: ignore(?!\[[a-z-]+(?:, [a-z-]+)*\])")
    unexplained = re.compile(r"# type: ignore\[[^]]*\]$")
    for file in (f for f in SOURCES if f.relative_to(ROOT).parts[0] == "vdmfewshot"):
        lines = file.read_text().splitlines()
        for before, line in zip(["", *lines], lines, strict=False):
            assert not silent.search(line), f"{file}: {line}"
            if unexplained.search(line):
                assert before.lstrip().startswith("#"), f"{file}: {line}"
        asserts = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.Assert)]
        assert all(node.msg for node in asserts), file


def test_imports_of_the_package_are_declared() -> None:
    """Every third-party module that the package imports is a dependency, or imported within an extra's own code."""
    modules = {"cv2": "opencv-python-headless", "PIL": "pillow"}
    declared = set(requirements()) | {
        Requirement(r).name for extra in PYPROJECT["project"]["optional-dependencies"].values() for r in extra
    }
    modules |= {"skimage": "scikit-image", "yaml": "jsonargparse", "pybullet_data": "pybullet"}
    for file in SOURCES:
        if file.relative_to(ROOT).parts[0] != "vdmfewshot":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for root in {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"vdmfewshot"}:
                assert modules.get(root, root) in declared, f"{file}: {root}"


def test_jsonargparse_brings_what_the_command_line_reads_files_with() -> None:
    assert any(r.lower().startswith("pyyaml") for r in requires("jsonargparse") or [])
