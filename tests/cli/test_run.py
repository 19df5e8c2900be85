"""`zmqtasks run`, as a program: input, output, failures, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import program, run
from tests.waiting import wait_until


def lines(text: str) -> dict[int, dict[str, Any]]:
    """Return JSON lines by task; each task may be there once."""
    entries = [json.loads(line) for line in text.splitlines()]
    found = {entry["task"]: entry for entry in entries}
    assert len(found) == len(entries), text
    return found


def values(text: str) -> list[Any]:
    return [entry["value"] for _, entry in sorted(lines(text).items())]


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def numbers(stop: int) -> str:
    return "".join(f"{n}\n" for n in range(stop))


def test_json_lines_through_a_pipe(tmp_path: Path) -> None:
    done = run(tmp_path, "run", "chores:double", stdin=numbers(2000))
    assert (done.returncode, done.stderr) == (0, "")
    assert values(done.stdout) == [2 * n for n in range(2000)]
    assert lines(done.stdout)[1999]["input"] == "1999"


@pytest.mark.parametrize(
    ("args", "stdin", "expected"),
    [
        (["chores:greet", "--spread"], '["a", "b"]\n[]\n', ["hello a and b!", "hello !"]),
        (["chores:same", "--paths", "x", "-", "y"], "b c\n\nd\n", ["x", "b c", "d", "y"]),
        (["chores:describe", "--kwargs", "table.csv"], "", [{"a": "1", "b": "2"}, {"a": "3", "b": ""}]),
        (["chores:same"], "", []),
    ],
)
def test_kinds_of_input(tmp_path: Path, args: list[str], stdin: str, expected: list[Any]) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n3,\n")
    done = run(tmp_path, "run", *args, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    assert values(done.stdout) == expected


def test_a_database(tmp_path: Path) -> None:
    done = run(tmp_path, "run", "chores:double", "-o", "results.db", stdin=numbers(100))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    stored = rows(tmp_path / "results.db", "SELECT task, input, value FROM results WHERE status = 'ok' ORDER BY task")
    assert stored == [(n, str(n), str(2 * n)) for n in range(100)]
    assert rows(tmp_path / "results.db", "SELECT name, total FROM jobs") == [("chores.double", 100)]


def test_results_of_another_run_are_not_touched_by_accident(tmp_path: Path) -> None:
    def results_after(*args: str) -> tuple[int, int]:
        done = run(tmp_path, "run", "chores:double", "-o", "x.db", *args, stdin="1\n")
        return done.returncode, len(rows(tmp_path / "x.db", "SELECT 1 FROM results"))

    assert results_after() == (0, 1)
    assert results_after() == (2, 1)
    assert results_after("--append") == (0, 2)
    assert results_after("--overwrite") == (0, 1)


@pytest.mark.parametrize(
    ("content", "args", "reason"),
    [
        (
            '{"task": 0, "ok": true, "value": 2, "job": "a:1"}\n',
            [],
            "x.jsonl holds results already: --append adds a job, --overwrite removes them first",
        ),
        ("milk\n", ["--append"], "x.jsonl, line 1 is not a result of zmqtasks"),
    ],
)
def test_a_file_with_something_in_it_is_refused(tmp_path: Path, content: str, args: list[str], reason: str) -> None:
    (tmp_path / "x.jsonl").write_text(content)
    done = run(tmp_path, "run", "chores:double", "-o", "x.jsonl", *args, stdin="1\n")
    assert (done.returncode, (tmp_path / "x.jsonl").read_text()) == (2, content)
    assert reason in done.stderr


def test_failures_are_told_and_stored(tmp_path: Path) -> None:
    done = run(tmp_path, "run", "chores:fail_on_odd", stdin=numbers(10))
    assert done.returncode == 1
    assert done.stderr.startswith("zmqtasks: 5 of 10 tasks failed; first: task ")
    assert "is odd" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    found = lines(done.stdout)
    assert sorted(found) == list(range(10))
    error = found[3]["error"]
    assert (error["kind"], error["type"], error["message"]) == ("error", "ValueError", "3 is odd")
    assert "in fail_on_odd" in error["traceback"]
    assert [n for n, entry in found.items() if entry["ok"]] == [n for n in found if n % 2 == 0]


def test_a_crash_and_a_timeout_end_that_task_alone(tmp_path: Path) -> None:
    died = run(tmp_path, "run", "chores:die", stdin=numbers(4))
    assert died.returncode == 1
    assert {n: entry["ok"] for n, entry in lines(died.stdout).items()} == {0: True, 1: False, 2: True, 3: True}
    assert lines(died.stdout)[1]["error"]["kind"] == "crashed"
    hung = run(tmp_path, "run", "chores:hang", stdin="1\n")  # its limit is in the @task
    assert (hung.returncode, lines(hung.stdout)[0]["error"]["kind"]) == (1, "timeout")


def test_a_failure_that_was_retried_is_not_shown(tmp_path: Path) -> None:
    marker = str(tmp_path / "marker")
    done = run(tmp_path, "run", "chores:fail_once", "--retries", "1", "--paths", marker, "-o", "x.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(tmp_path / "x.db", "SELECT status, value FROM results") == [("ok", '"second try"')]


def test_a_line_that_is_no_json_ends_the_reading_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("1\n2\nnonsense\n4\n")
    done = run(tmp_path, "run", "chores:double", "in.jsonl")
    assert done.returncode == 2
    assert done.stderr.startswith("zmqtasks: error: in.jsonl, line 3: not JSON: ")
    assert values(done.stdout) == [2, 4]


def test_with_keep_going_it_is_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, "run", "chores:double", "--keep-going", stdin="1\n2\nnonsense\n4\n")
    assert done.returncode == 1
    complaint, summary = done.stderr.splitlines()
    assert complaint.startswith("zmqtasks: error: standard input, line 3: not JSON: ")
    assert summary == "zmqtasks: 1 input could not be read, and left out"
    assert values(done.stdout) == [2, 4, 8]


def test_what_tasks_print_is_not_among_the_results(tmp_path: Path) -> None:
    done = run(tmp_path, "run", "chores:speak", stdin=numbers(3))
    assert values(done.stdout) == [0, 1, 2]
    assert done.stderr == "a word from a task\n" * 3


def test_nobody_at_the_address_exits_4(tmp_path: Path) -> None:
    args = ("--node", "127.0.0.1:1", "--connect-timeout", "0.2 s")
    done = run(tmp_path, "run", "chores:double", *args, "-o", "x.db", stdin="1\n")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("zmqtasks: error: none of the nodes at tcp://127.0.0.1:1 answered within 0.2 s")
    assert run(tmp_path, "run", "chores:double", "-o", "x.db", stdin="1\n").returncode == 0


def test_who_closes_the_pipe_ends_it_quietly(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with program(tmp_path, "run", "run", "chores:double", "--lines", "-", stdin=subprocess.PIPE, stdout=writer) as it:
        os.close(writer)
        assert it.process.stdin is not None
        it.process.stdin.write(b"a\n")
        it.process.stdin.flush()
        assert os.read(reader, 9) == b'{"task": '
        os.close(reader)
        it.process.stdin.write(b"b\n")
        it.process.stdin.flush()
        assert (it.wait(), it.stderr) == (141, "")


def test_what_comes_slowly_is_not_held_back(tmp_path: Path) -> None:
    with program(tmp_path, "run", "run", "chores:double", "-", stdin=subprocess.PIPE) as it:
        assert it.process.stdin is not None
        for number in range(3):
            it.process.stdin.write(f"{number}\n".encode())
            it.process.stdin.flush()
            wait_until(lambda done=number + 1: len(it.stdout.splitlines()) == done, lambda: it.stdout)
        it.process.stdin.close()
        assert it.wait() == 0


def test_sigterm_finishes_what_runs(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("".join(f"{json.dumps([str(tmp_path), n])}\n" for n in range(20)))
    with program(tmp_path, "run", "run", "chores:wait_for", "--spread", "in", "--workers", "1", "-o", "x.db") as it:
        wait_until(lambda: (tmp_path / "begun-0").exists(), lambda: it.stderr)
        it.signal(signal.SIGTERM)
        wait_until(lambda: "interrupted: what runs is finished" in it.stderr, lambda: it.stderr)
        (tmp_path / "go").touch()
        assert it.wait() == 130
    begun = sorted(int(path.name.partition("-")[2]) for path in tmp_path.glob("begun-*"))
    assert [task for (task,) in rows(tmp_path / "x.db", "SELECT task FROM results ORDER BY task")] == begun
    assert 1 <= len(begun) < 20
    assert f"interrupted: {len(begun)} task" in it.stderr


def test_memory_stays_flat(tmp_path: Path) -> None:
    """The input is held encoded once at most, and no further ahead than the bound: 200,000 lines of 1 kB."""
    with open(tmp_path / "in", "w") as file:
        file.writelines(f'"{n:01000}"\n' for n in range(200_000))
    peak_kib = 0

    def has_ended() -> bool:
        # Not getrusage: the peak that it tells begins with that of the process which started this one.
        nonlocal peak_kib
        status = Path(f"/proc/{it.process.pid}/status").read_text()
        if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
            peak_kib = int(peak[1])
        return peak is None

    with program(tmp_path, "run", "run", "builtins:len", "in", "-o", "/dev/null") as it:
        wait_until(has_ended, lambda: peak_kib, timeout_s=50)
        assert (it.wait(), it.stderr) == (0, "")
    assert 10 * 1024 < peak_kib < 260 * 1024


def test_a_job_is_run_every_so_often_until_it_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1\n2\n")
    again = ("run", "chores:double", "in", "--every", "0.1 s", "--workers", "1", "-o", "x.db", "--overwrite")
    with program(tmp_path, "run", *again) as it:
        jobs = "SELECT count(DISTINCT job) FROM results"
        wait_until(lambda: (tmp_path / "x.db").exists() and "left out" in it.stderr, lambda: it.stderr, 30)
        wait_until(lambda: rows(tmp_path / "x.db", jobs)[0][0] >= 2, lambda: it.stderr, 30)
        it.signal(signal.SIGINT)
        assert it.wait() == 130
    assert "the run took longer than its period of 0.1 s" in it.stderr
    values = rows(tmp_path / "x.db", "SELECT value FROM results GROUP BY job, task")
    assert sorted(set(values)) == [("2",), ("4",)]
    for wrong in (("--journal", "j"), ("--only-failed",)):
        assert run(tmp_path, *again, *wrong).returncode == 2
    assert "standard input" in run(tmp_path, "run", "chores:double", "--every", "1 s", stdin="1").stderr
