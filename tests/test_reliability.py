"""The published table of faults names tests that exist, marked as it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (?P<ids>[^|]+) \| [^|]+ \| (?P<test>[^|]+) \| [^|]+ \| (?P<date>[^|]+) \|$", re.MULTILINE)


def rows() -> list[tuple[str, str, str]]:
    """(ids, test, date) of every row."""
    found = [
        tuple(map(str.strip, match.groups())) for match in ROW.finditer((ROOT / "docs/reliability.md").read_text())
    ]
    return [(ids, test, date) for ids, test, date in found if ids not in ("id", "---")]


def functions(file: Path) -> dict[str, str]:
    """Tests of a file with their decorators."""
    tree = ast.parse(file.read_text())
    return {
        node.name: " ".join(map(ast.unparse, node.decorator_list))
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }


def test_every_named_test_exists_and_runs_where_the_table_says() -> None:
    assert len(rows()) > 30
    for ids, test, _ in rows():
        if test == "none":
            continue
        file, _, name = test.strip("`").partition("::")
        decorators = functions(ROOT / file).get(name)
        assert decorators is not None, test
        assert ("mark.slow" in decorators) or " F" in ids, f"{test} runs with make test, so it is no S row"


def test_dates_are_dates() -> None:
    assert all(re.fullmatch(r"-|20\d\d-\d\d-\d\d", date) for _, _, date in rows())
