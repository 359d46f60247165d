"""The published table of faults has a row for each, and every row names a test that exists and runs where it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROW = re.compile(
    r"^\| (?P<id>[A-Z]\d+) (?P<when>[FSG]) \| [^|]+ \| (?P<test>[^|]+) \| (?P<measured>[^|]+) \| (?P<date>[^|]+) \|$",
    re.M,
)
ROWS = [match.groupdict() for match in ROW.finditer((ROOT / "docs/reliability.md").read_text())]
#: how many faults of each kind there are: checkpoints, numbers, data, metrics, work at scale, hostile input
FAULTS = {"C": 11, "N": 8, "D": 4, "M": 9, "W": 12, "X": 7}


def slow_marks(file: Path) -> dict[str, str]:
    """``always``, ``partly`` (some parameters) or ``never`` for every test of a file."""
    tree = ast.parse(file.read_text())
    of_module = any(
        isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "pytestmark"
        and "slow" in ast.unparse(node.value)
        for node in tree.body
    )
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            marks = [ast.unparse(decorator) for decorator in node.decorator_list]
            always = of_module or "pytest.mark.slow" in marks
            partly = any("mark.slow" in mark or "SLOW" in mark for mark in marks)
            found[node.name] = "always" if always else "partly" if partly else "never"
    return found


def test_every_fault_has_a_row() -> None:
    expected = {f"{kind}{number}" for kind, count in FAULTS.items() for number in range(1, count + 1)}
    assert len(expected) == 51
    assert {row["id"] for row in ROWS} == expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['id']}-{row['test'].rpartition('::')[2].strip('`')[:40]}")
def test_every_named_test_exists_and_runs_where_the_table_says(row: dict[str, str]) -> None:
    if row["test"] == "none":
        assert row["date"] == "-", "nothing was measured"
        assert row["when"] == "G" or row["id"] == "C11", "what can be provoked without a GPU is"
        return
    file, _, name = row["test"].strip("`").partition("::")
    slow = slow_marks(ROOT / file).get(name)
    assert slow is not None, f"there is no {row['test']}"
    assert slow != ("always" if row["when"] == "F" else "never"), f"{name} runs {slow} with -m slow"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", row["date"])
