"""Every notebook runs from top to bottom, is stored with its outputs, and shows what it promises."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {file.stem: file for file in sorted((ROOT / "notebooks").glob("*.ipynb"))}
TINY = "import vdmfewshot as vdm\nmodel = vdm.CogVideoX({tiny!r})\n"
#: what replaces the cell of parameters: a tiny random model, two steps, few pictures; and the figures that are shown
RUNS = {
    "another_backbone": ("models, size, steps = ['embedded'], 32, 1", 0),
    "arc": ("model, task = {tiny!r}, 'c8f0f002'\nsize, steps, views = 32, 2, 2", 4),
    "masks": (TINY + "size, steps, queries = 32, 2, 2", 2),
    "own_pairs": (TINY + "size, steps = 32, 2", 2),
    "poses": (TINY + "size, shots, steps = 32, 3, 2", 1),
    "shots_curve": ("model, size, steps, shots, seeds = 'embedded', 32, 1, (1, 2), (0,)", 1),
}


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder to write in; the package also for processes that a cell starts, where it is not installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Numbers of the figures that are made; none is left open."""
    plt = pytest.importorskip("matplotlib.pyplot")
    made: list[int] = []
    subplots = plt.subplots
    monkeypatch.setattr(plt, "subplots", lambda *a, **k: made.append(1) or subplots(*a, **k))
    yield made
    plt.close("all")


def cells(file: Path, parameters: str) -> list[str]:
    """Sources of the code cells, the cell of parameters replaced."""
    code = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    return [parameters if "parameters" in cell.metadata.get("tags", []) else cell.source for cell in code]


def test_all_are_run() -> None:
    assert RUNS.keys() == NOTEBOOKS.keys()


@pytest.mark.parametrize("name", RUNS)
def test_runs_on_a_tiny_model(name: str, tiny: Path, figures: list[int]) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    parameters, shown = RUNS[name]
    shell = InteractiveShell()
    for source in cells(NOTEBOOKS[name], parameters.format(tiny=str(tiny))):
        shell.run_cell(source).raise_error()
    assert len(figures) == shown


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_is_stored_with_its_outputs(name: str) -> None:
    book = nbformat.read(NOTEBOOKS[name], as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run: scripts/run_notebooks.py"
    outputs = [output for cell in code for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs) or name == "another_backbone"
    assert not re.search(r"/tmp/|/home/|/root/|/work/|Traceback|Warning", NOTEBOOKS[name].read_text(encoding="utf-8"))
    assert NOTEBOOKS[name].stat().st_size < 500_000


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_its_parameters_are_one_short_cell(name: str) -> None:
    book = nbformat.read(NOTEBOOKS[name], as_version=4)
    (cell,) = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    assert all(isinstance(node, ast.Assign) for node in ast.parse(cell.source).body)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs_as_it_is_in_a_kernel(name: str, tmp_path: Path) -> None:
    from nbclient import NotebookClient

    NotebookClient(nbformat.read(NOTEBOOKS[name], as_version=4), timeout=900, kernel_name="python3").execute(
        cwd=str(tmp_path)
    )
