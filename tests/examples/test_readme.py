"""What the documentation shows is what lies in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_first_example_is_shown_as_it_is(page: str) -> None:
    example = (ROOT / "examples/quickstart.py").read_text()
    assert f"```python\n{example}```" in (ROOT / page).read_text()
    assert len([line for line in example.splitlines() if line.strip()]) <= 15


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((docs/[^)#]+)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_make_targets_named_in_the_readme_exist() -> None:
    targets = re.findall(r"^\$ make (\S+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    rules = (ROOT / "Makefile").read_text()
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", rules, re.MULTILINE) for target in targets)
