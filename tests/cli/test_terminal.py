"""On a terminal: progress, and what Ctrl-C does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.programs import on_terminal
from tests.cli.test_run import rows
from tests.waiting import wait_until


def waiting_tasks(folder: Path, count: int) -> str:
    (folder / "in").write_text("".join(f"{json.dumps([str(folder), n])}\n" for n in range(count)))
    return "in"


def test_progress_then_a_summary(tmp_path: Path) -> None:
    source = waiting_tasks(tmp_path, 7)
    with on_terminal(tmp_path, "run", "chores:wait_for", "--spread", source, "--workers", "2", "-o", "x.db") as it:
        wait_until(lambda: re.search(r"0/7 .*/2 workers busy", it.seen), lambda: it.seen)
        (tmp_path / "go").touch()
        assert it.wait() == 0
        assert re.search(r"zmqtasks: 7 done, 0 failed in \d+\.\d s: \d+ tasks/s\r\n$", it.seen), it.seen


def test_results_on_the_terminal_are_not_disturbed(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1\n2\n")
    with on_terminal(tmp_path, "run", "chores:double", "in") as it:
        assert it.wait() == 0
        assert sorted(json.loads(line)["value"] for line in it.seen.splitlines()) == [2, 4]


def test_no_input_on_a_terminal_is_a_mistake(tmp_path: Path) -> None:
    with on_terminal(tmp_path, "run", "chores:double") as it:
        assert it.wait() == 2
        assert "no INPUT: name a file, or - to type the input" in it.seen


def test_ctrl_c_once_finishes_what_runs(tmp_path: Path) -> None:
    source = waiting_tasks(tmp_path, 50)
    with on_terminal(tmp_path, "run", "chores:wait_for", "--spread", source, "--workers", "1", "-o", "x.db") as it:
        wait_until((tmp_path / "begun-0").exists, lambda: it.seen)
        it.press_ctrl_c()
        wait_until(lambda: "Ctrl-C again stops at once" in it.seen, lambda: it.seen)
        (tmp_path / "go").touch()
        assert it.wait() == 130
        assert "the rest was given up" in it.seen
    begun = len(list(tmp_path.glob("begun-*")))
    assert rows(tmp_path / "x.db", "SELECT COUNT(*) FROM results") == [(begun,)]


def test_ctrl_c_twice_stops_at_once(tmp_path: Path) -> None:
    source = waiting_tasks(tmp_path, 50)
    with on_terminal(tmp_path, "run", "chores:wait_for", "--spread", source, "--workers", "1", "-o", "x.db") as it:
        wait_until((tmp_path / "begun-0").exists, lambda: it.seen)
        it.press_ctrl_c()
        wait_until(lambda: "Ctrl-C again stops at once" in it.seen, lambda: it.seen)
        it.press_ctrl_c()
        assert it.wait() == 130
        assert "Traceback" not in it.seen
    assert rows(tmp_path / "x.db", "SELECT COUNT(*) FROM results") == [(0,)]


def test_ctrl_c_while_it_waits_for_input(tmp_path: Path) -> None:
    with on_terminal(tmp_path, "run", "chores:double", "-", "-o", "x.db") as it:
        it.type("1\n")
        wait_until(lambda: re.search(r"\b1 .*workers busy", it.seen), lambda: it.seen)
        it.press_ctrl_c()
        assert it.wait() == 130
    assert rows(tmp_path / "x.db", "SELECT value FROM results") == [("2",)]
