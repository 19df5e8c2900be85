"""What docs/testing.md shows is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["local mesh", "fakes"])
def test_the_examples_run(block: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(block, str(PAGE), "exec"), names)
    for name in [name for name in names if name.startswith("test_")]:
        names[name]()
