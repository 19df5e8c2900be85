"""The pages for those who come from elsewhere: each row names its test, and each test that is named exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs/migrating").glob("*.md"))
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@cache
def names_in(file: str) -> frozenset[str]:
    path = ROOT / "tests" / file
    functions = ast.walk(ast.parse(path.read_text())) if path.is_file() else ()
    return frozenset(f.name for f in functions if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef))


def rows(page: Path) -> list[list[str]]:
    """Return the cells of all rows of tables whose last column is named "test"."""
    found: list[list[str]] = []
    inside = False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        inside = bool(cells) and (inside or cells[-1] == "test")
        if inside and cells[-1] != "test" and not set(cells[-1]) <= {"-", ":"}:
            found.append(cells)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_row_names_tests_that_exist(page: Path) -> None:
    assert len(rows(page)) > 20
    named = [(row, NAMED.findall(row[-1])) for row in rows(page)]
    assert [row for row, tests in named if not tests and not row[-1].startswith("none")] == []
    assert [f"{file}::{name}" for _, tests in named for file, name in tests if name not in names_in(file)] == []
