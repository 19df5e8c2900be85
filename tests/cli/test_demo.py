"""The main job: every file of the standard library, once through `zmqtasks run` and once through a plain loop."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from examples.code_metrics import analyse
from tests.cli.programs import ROOT, program
from tests.cli.test_run import rows


def source_files() -> list[str]:
    """Return what the Makefile's `find` gives `make demo`."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    found = (path for path in stdlib.rglob("*.py") if not {"site-packages", "__pycache__"} & set(path.parts))
    return sorted(map(str, found))


def by_a_plain_loop(paths: list[str]) -> dict[str, tuple[str, Any]]:
    """Return for each path "ok" and the value, or the type of error and its text."""
    results: dict[str, tuple[str, Any]] = {}
    for path in paths:
        try:
            results[path] = "ok", analyse(path)
        except (SyntaxError, ValueError) as error:
            results[path] = type(error).__name__, str(error)
    return results


@pytest.mark.timeout(300)  # each file is measured twice, on however busy a machine
def test_the_demo_equals_a_plain_loop(tmp_path: Path) -> None:
    paths = source_files()
    (tmp_path / "paths").write_text("".join(f"{path}\n" for path in paths))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with open(tmp_path / "paths") as stdin:
        job = ("run", "examples.code_metrics:analyse", "--paths", "-", "-o", "metrics.db")
        with program(tmp_path, "run", *job, stdin=stdin.fileno()) as it:
            expected = by_a_plain_loop(paths)
            assert it.process.wait(120) == (1 if any(kind != "ok" for kind, _ in expected.values()) else 0), it.stderr
    stored = rows(tmp_path / "metrics.db", "SELECT task, input, status, value, error_type, error FROM results")
    assert len(stored) == len(paths)
    assert {task: path for task, path, *_ in stored} == dict(enumerate(paths))
    found = {
        path: ("ok", json.loads(value)) if status == "ok" else (error_type, error)
        for _, path, status, value, error_type, error in stored
    }
    assert found == expected
    assert rows(tmp_path / "metrics.db", "SELECT name, total FROM jobs") == [
        ("examples.code_metrics.analyse", len(paths))
    ]
