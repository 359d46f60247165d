"""The notebooks run from top to bottom and are stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for kernels, where the package is not installed but run from its checkout."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda f: f.stem)
def test_notebooks_are_stored_without_outputs(file: Path) -> None:
    for cell in nbformat.read(file, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def execute(file: Path, folder: Path, parameters: str) -> nbformat.NotebookNode:
    """Run a notebook with its cell of parameters replaced."""
    notebook = nbformat.read(file, as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source = parameters
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(folder))
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[dict[str, str]]:
    return [dict(out["data"]) for cell in notebook.cells for out in cell.get("outputs", []) if "data" in out]


def test_five_pairs_on_a_tiny_model(tiny: Path, tmp_path: Path) -> None:
    notebook = execute(NOTEBOOKS[0], tmp_path, f"backbone, size, steps = {str(tiny)!r}, 32, 2")
    shown = outputs(notebook)
    assert any("psnr_db" in data.get("text/plain", "") for data in shown), "the table of scores"
    assert sum("image/png" in data for data in shown) == 2, "the panel and the answer"


@pytest.mark.slow
def test_five_pairs_as_it_is(tmp_path: Path) -> None:
    (source,) = [c.source for c in nbformat.read(NOTEBOOKS[0], as_version=4).cells if "steps = 200" in c.source]
    notebook = execute(NOTEBOOKS[0], tmp_path, source)
    assert sum("image/png" in data for data in outputs(notebook)) == 2
