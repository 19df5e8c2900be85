"""The report of `make demo`, on a database made by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from examples.code_metrics import analyse
from examples.demo import report
from zmqtasks.machines.collection import Record
from zmqtasks.messages import Outcome, OutcomeKind
from zmqtasks.store import open_store
from zmqtasks.wire import payload

SOURCES = {
    "plain.py": "x = 1\n",
    "loop.py": "def spin(x):\n    while x: x -= 1\n",
    "maze.py": "class Maze:\n    def walk(self, x):\n" + "        if x: pass\n" * 10,
    "broken.py": "def f(:\n",
}


def outcome_of(call: Callable[[], Any]) -> tuple[OutcomeKind, bytes]:
    try:
        (run,) = payload.pack([call()])
        return OutcomeKind.OK, run.body or b""
    except SyntaxError as error:
        return OutcomeKind.ERROR, payload.pack_failure(error)


def test_the_report_tells_what_was_found(tmp_path: Path) -> None:
    database = str(tmp_path / "metrics.db")
    with open_store(database) as store:
        store.note_job("a:1", "examples.code_metrics.analyse", len(SOURCES))
        for task, (name, source) in enumerate(SOURCES.items()):
            path = tmp_path / name
            path.write_text(source)
            kind, body = outcome_of(lambda path=path: analyse(str(path)))
            outcome = Outcome("a:1", 1, "n", task, task + 1, kind, 0.5, body)
            store.record([Record(outcome, task, task + 1)], lambda: None)
    first, *rest = report(database)
    assert re.fullmatch(r"4 files in \d+\.\d s: [\d,]+ tasks/s, 2\.0 s of work in the workers", first)
    assert rest == [
        "3 analysed: 15 lines, 2 functions",
        "1 failed, by type of error:",
        "  SyntaxError  1",
        "",
        "The five files whose worst function is most complex:",
        "  complexity  function   file",
        f"          11  Maze.walk  {tmp_path}/maze.py",
        f"           2  spin       {tmp_path}/loop.py",
    ]


def test_an_empty_database_is_told(tmp_path: Path) -> None:
    database = str(tmp_path / "metrics.db")
    open_store(database).close()
    with pytest.raises(SystemExit, match="has no results"):
        list(report(database))
