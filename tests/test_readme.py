"""Every command and every snippet of the documentation works."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

from tests.hub_server import hub_server, use_hub
from tests.runs import options, run
from vdmfewshot.cli.command import main
from vdmfewshot.cli.schema import schema
from vdmfewshot.studies.settings import Executor

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if "results" not in p.parts)]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
HUB_ID = "zai-org/CogVideoX1.5-5B-I2V"


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


LINES = list(
    dict.fromkeys(line for block in fenced("bash") for line in block.splitlines() if line[:1] not in ("#", ""))
)
EVIDENCE = [line for line in LINES if line.startswith("vdmfewshot evidence")]
OTHERS = ("vdmfewshot report", "vdmfewshot evidence", "vdmfewshot app", "vdmfewshot push")
COMMANDS = [line for line in LINES if line.startswith("vdmfewshot ") and not line.startswith(OTHERS)]
STUDIES = (ROOT / "docs/studies.md").read_text(encoding="utf-8")
SHARE = (ROOT / "docs/how-to/share.md").read_text(encoding="utf-8")
INLINE = re.findall(r"`(--[\w.]+[ =][^`]+)`", TEXT.replace(STUDIES, "").replace(SHARE, ""))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny: Path, pairs_root: Path) -> Path:
    """A folder in which the README's commands are typed: experiments, ``my_task``, and a run of each name."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "experiments").symlink_to(ROOT / "experiments")
    shutil.copytree(pairs_root, folder / "my_task")
    run("adapt", *options(tiny, folder / "runs", folder / "my_task"), "--name", "my_task")
    shutil.copytree(folder / "runs/my_task", folder / "runs/nuclei-5b")
    return folder


@pytest.mark.parametrize(
    ("command", "printed"), [*((line, "trainer:") for line in COMMANDS), *((line, "tasks:") for line in EVIDENCE)]
)
def test_commands_parse(
    command: str, printed: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as stop:
        main([*shlex.split(command)[1:], "--print_config"])
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    assert printed in captured.out


@pytest.mark.parametrize("option", INLINE)
def test_options_in_the_text_exist(option: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "FOLDER").mkdir()
    experiment = "arc" if "paper_parity" in option else "nuclei"
    base = ["-c", str(ROOT / f"experiments/{experiment}.yaml")]
    if option.startswith("--data.") and "init_args" not in option:
        base = ["--data", "PairsDataModule", "--data.root", "x"]
    with pytest.raises(SystemExit) as stop:
        main(["adapt", *base, *shlex.split(option), "--print_config"])
    assert stop.value.code == 0, capsys.readouterr().err


def test_options_in_the_text_on_studies_exist() -> None:
    schema = json.loads((ROOT / "vdmfewshot/cli/schema.json").read_text())["verbs"]["study"]["options"]
    executor = {f"executor.{field.name}" for field in fields(Executor)}
    named = re.findall(r"`--([\w.]+)[ =][^`]+`", STUDIES)
    assert named
    assert not [name for name in named if name not in schema and name not in executor]


def test_adapters_are_pushed(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From a checkpoint in a folder, so that the base model must be named."""
    commands = [line for line in LINES if line.startswith("vdmfewshot push")]
    monkeypatch.chdir(place)
    with hub_server() as hub:
        use_hub(monkeypatch, hub.url, str(tmp_path))
        for command in commands:
            main([*shlex.split(command)[1:], "--base_model", HUB_ID])
        assert HUB_ID.encode() in hub.files("me/nuclei")["README.md"]
    assert (place / "shared/README.md").is_file()


def test_options_of_push_in_the_text_exist() -> None:
    named = re.findall(r"`--(\w+)[^`]*`", SHARE)
    assert named
    known = schema()
    assert set(named) <= known.verbs["push"].options.keys() | known.verbs["adapt"].options.keys()


@pytest.mark.parametrize("command", [line for line in LINES if line.startswith("python -m benchmarks")])
def test_benchmarks_of_the_readme_parse(command: str) -> None:
    _, _, module, *options = shlex.split(command)
    importlib.import_module(module).parser().parse_args(options)


@pytest.mark.parametrize("command", [line for line in LINES if line.startswith("vdmfewshot report")])
def test_reports(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    _, *arguments = shlex.split(command)
    main(arguments)
    files = [Path(value) for option, value in pairwise(arguments) if option.startswith("--") and value != "-"]
    assert all(file.stat().st_size > 100 for file in files)
    assert "runs/my_task/version_0" in capsys.readouterr().out + "".join(file.read_text() for file in files)


@pytest.mark.parametrize("command", [line for line in LINES if line.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    done = subprocess.run([*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_make_help_lists_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"^make (\w+)", done.stdout, flags=re.MULTILINE)) == set(phony.group(1).split())


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "not executable"
    assert "make test" in LINES
    assert script.read_text().rstrip().endswith("exec make test")


@pytest.mark.parametrize("snippet", fenced("python"), ids=lambda s: s.split("\n", 1)[0])
def test_snippets_run(snippet: str, place: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a tiny checkpoint instead of the large one; ``main`` gets the same as options."""
    monkeypatch.chdir(place)
    code = snippet.replace(HUB_ID, str(tiny)).replace(
        "torch.bfloat16", "torch.float32, text_encoder=None, tokenizer=None"
    )
    small = ["--model.init_args.backbone.init_args.path", str(tiny), "--data.init_args.height", "32"]
    small += ["--data.init_args.width", "32", "--trainer.precision", "32"]
    code = code.replace('overlay/debug.yaml"]', f'overlay/debug.yaml", *{small!r}]')
    code = code.replace('model="embedded"', f"model=vdm.CogVideoX({str(tiny)!r}), steps=2").replace("=200", "=2")
    code = code.replace('"embedded"', repr(str(tiny))).replace("shots=4", "shots=4, height=32, width=32")
    files = [sorted((place / "my_task" / part).iterdir()) for part in ("input", "target")]
    scope: dict[str, object] = {"pairs": list(zip(*files, strict=True))}
    exec(compile(code, "README.md", "exec"), scope)
    if "pipeline" in scope:
        assert scope["pipeline"].get_active_adapters()  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    assert not [page for page in PAGES[1:] if str(page.relative_to(ROOT / "docs")) not in menu]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Manifest" in (tmp_path / "reference/lora/index.html").read_text()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 180


def test_files_named_for_contributors_exist() -> None:
    """Those of the invented examples (depth, mochi) excepted."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for file in re.findall(r"`((?:vdmfewshot|tests|experiments)/[\w/.-]+\.(?:py|yaml))`", text):
        assert (ROOT / file).exists() != ("depth" in file or "mochi" in file), file
