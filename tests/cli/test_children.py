"""Tasks of commands that submit tasks: waited for or not, with any sink, with a journal; none is lost."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.cli.programs import program, run
from tests.cli.test_roles import ANY, recorded
from tests.cli.test_run import lines, numbers, rows, values
from tests.waiting import wait_until


def test_tasks_of_run_wait_for_tasks_of_their_own(tmp_path: Path) -> None:
    done = run(tmp_path, "run", "chores:fib", "--workers", "2", stdin=numbers(7))
    assert (done.returncode, done.stderr) == (0, "")
    assert values(done.stdout) == [0, 1, 1, 2, 3, 5, 8]


def test_a_run_ends_with_the_last_call_that_nobody_waits_for(tmp_path: Path) -> None:
    done = run(tmp_path, "run", "chores:push_marks", "--workers", "2", stdin="3\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert values(done.stdout) == [1]  # a row for each input, and for nothing else
    assert {mark.name.split("-")[1] for mark in tmp_path.glob("mark-*")} == {"0", "1", "2", "3"}


def test_a_failed_call_that_nobody_waits_for_is_told_and_counted(tmp_path: Path) -> None:
    done = run(tmp_path, "run", "chores:push_failures", "--workers", "1", "--retries", "1", stdin="4\n")
    assert (done.returncode, values(done.stdout)) == (1, [4])
    told = "zmqtasks: 2 of 4 calls that tasks have spawned failed, and no task waited for it; first: chores.fail_on_odd"
    assert done.stderr.startswith(told), done.stderr
    assert done.stderr.endswith("ValueError: 1 is odd\n")


def test_ctrl_c_finishes_what_is_waited_for_and_begins_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(json.dumps([str(tmp_path), 7]))
    with program(tmp_path, "run", "run", "chores:push_and_wait", "--spread", "in", "--workers", "1") as it:
        wait_until((tmp_path / "begun-7").exists, lambda: it.stderr)
        it.signal(signal.SIGINT)
        wait_until(lambda: "nothing new begins" in it.stderr, lambda: it.stderr)
        (tmp_path / "go").touch()
        assert it.wait() == 130
        assert lines(it.stdout)[0]["value"] == 7
    assert not list(tmp_path.glob("late-*"))


def test_calls_of_tasks_come_home_past_a_standalone_sink_and_so_does_what_they_share(tmp_path: Path) -> None:
    with (
        program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "2") as node,
        program(tmp_path, "sink", "sink", "--bind", ANY, "-o", "x.db") as sink,
    ):
        where = ("--node", node.address, "--sink", sink.address)
        done = run(tmp_path, "ventilator", "chores:sum_of_squares", *where, stdin=numbers(30))
        assert (done.returncode, done.stderr) == (0, "")
        assert recorded(tmp_path / "x.db") == {n: sum(x * x for x in range(n)) for n in range(30)}
        done = run(tmp_path, "ventilator", "chores:push_failures", *where, stdin="4\n")
        assert (done.returncode, "2 of 4 calls" in done.stderr) == (1, True)
        done = run(tmp_path, "ventilator", "chores:share", *where, stdin=numbers(20))
        assert (done.returncode, done.stderr) == (0, "")
        jobs = rows(tmp_path / "x.db", "SELECT group_concat(value) FROM results GROUP BY job")
        assert list(range(20)) in [sorted(map(int, told.split(","))) for (told,) in jobs]


def test_a_ventilator_that_goes_on_loses_no_call_of_its_tasks(tmp_path: Path) -> None:
    """Parents that wait are run again, those whose calls were not taken, too; calls that were taken go on alone."""
    (tmp_path / "in").write_text(json.dumps([str(tmp_path), 0]) + "\n")
    with (
        program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "2") as node,
        program(tmp_path, "sink", "sink", "--bind", ANY, "-o", "x.db") as sink,
    ):
        where = ("--node", node.address, "--sink", sink.address, "--journal", "j.db")
        job = ("ventilator", "chores:ask_and_leave", "--spread", "in", *where)
        with program(tmp_path, "first", *job) as first:
            wait_until((tmp_path / "begun-0").exists, lambda: first.stderr)
            first.signal(signal.SIGKILL)
            first.wait()
        with program(tmp_path, "second", *job) as second:
            wait_until(lambda: (tmp_path / "runs").read_text() == "0\n0\n", lambda: second.stderr)
            (tmp_path / "go").touch()
            assert second.wait() == 0, second.stderr
        assert recorded(tmp_path / "x.db") == {0: 0}
        assert len(list(tmp_path.glob("late-*"))) == 10


def test_what_is_submitted_while_the_ventilator_is_away_is_submitted_again(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(json.dumps([str(tmp_path), 0]) + "\n")
    with program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "1") as node:
        where = ("--node", node.address, "-o", "x.db", "--journal", "j.db")
        job = ("ventilator", "chores:submit_late", "--spread", "in", *where)
        with program(tmp_path, "first", *job) as first:
            wait_until((tmp_path / "begun-0").exists, lambda: first.stderr)
            first.signal(signal.SIGKILL)
            first.wait()
        (tmp_path / "go").touch()
        with program(tmp_path, "second", *job) as second:
            assert second.wait() == 0, second.stderr
        assert recorded(tmp_path / "x.db") == {0: 0}
        assert (tmp_path / "late-0").exists()


def test_calls_that_nobody_waits_for_are_done_by_the_next_life(tmp_path: Path) -> None:
    """Their task is done, and recorded, when the ventilator dies: only the journal knows of them."""
    (tmp_path / "in").write_text("0\n1\n2\n")
    output = tmp_path / "x.jsonl"
    with program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "1") as node:
        where = ("--node", node.address, "-o", "x.jsonl", "--journal", "j.db")
        job = ("ventilator", "chores:leave_late_marks", "in", *where)
        with program(tmp_path, "first", *job) as first:
            wait_until(lambda: output.exists() and len(recorded(output)) == 3, lambda: first.stderr)
            first.signal(signal.SIGKILL)
            first.wait()
        before = len(list(tmp_path.glob("mark-*")))
        done = run(tmp_path, *job)
        assert (done.returncode, "3 tasks, 3 of them done" in done.stderr) == (0, True), done.stderr
        assert recorded(output) == {0: 0, 1: 1, 2: 2}
        assert (before < 12, len(list(tmp_path.glob("mark-*")))) == (True, 12)
