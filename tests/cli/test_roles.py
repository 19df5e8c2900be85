"""Node, sink and ventilator as three programs, as in three terminals."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.programs import program, run
from tests.cli.test_run import lines, numbers, rows
from tests.mesh.nodes import free_port
from tests.waiting import wait_until

ANY = "127.0.0.1:0"


def recorded(path: Path) -> dict[int, int]:
    """Return the values in a file of results; each task may be there once."""
    if path.suffix == ".jsonl":
        return {task: entry["value"] for task, entry in lines(path.read_text()).items()}
    return {task: int(value) for task, value in rows(path, "SELECT task, value FROM results")}


@pytest.mark.parametrize("output", ["x.db", "x.jsonl"])
def test_every_result_reaches_the_sink(tmp_path: Path, output: str) -> None:
    with (
        program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "2") as node,
        program(tmp_path, "sink", "sink", "--bind", ANY, "-o", output) as sink,
    ):
        where = ("--node", node.address, "--sink", sink.address)
        done = run(tmp_path, "ventilator", "chores:double", *where, stdin=numbers(3000))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert recorded(tmp_path / output) == {n: 2 * n for n in range(3000)}
        for it in (sink, node):
            it.signal(signal.SIGTERM)
            assert it.wait() == 0
    assert recorded(tmp_path / output) == {n: 2 * n for n in range(3000)}


def test_failures_reach_the_sink_too(tmp_path: Path) -> None:
    with (
        program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "1") as node,
        program(tmp_path, "sink", "sink", "--bind", ANY, "-o", "x.db") as sink,
    ):
        where = ("--node", node.address, "--sink", sink.address)
        done = run(tmp_path, "ventilator", "chores:fail_on_odd", *where, stdin=numbers(10))
        assert done.returncode == 1
        assert done.stderr.startswith("zmqtasks: 5 of 10 tasks failed; first: task ")
        failures = rows(tmp_path / "x.db", "SELECT task, error FROM failures ORDER BY task")
        assert failures == [(n, f"{n} is odd") for n in range(1, 10, 2)]
        status = run(tmp_path, "status", "--json", "--node", node.address, "--node", sink.address)
        shown = [json.loads(line) for line in status.stdout.splitlines()]
        assert [(s["role"], s["state"], s["done"], s["failed"]) for s in shown] == [
            ("node", "up", 5, 5),
            ("sink", "up", 5, 5),
        ]
        swapped = run(tmp_path, "ventilator", "chores:double", "--node", sink.address, "-o", "y.db", stdin="1\n")
        assert (swapped.returncode, "is a sink, not a node" in swapped.stderr) == (4, True)
        where = ("--node", node.address, "--sink", node.address)
        doubled = run(tmp_path, "ventilator", "chores:double", *where, stdin="1\n")
        assert (doubled.returncode, "is given as a node and as the sink" in doubled.stderr) == (4, True)


def test_a_node_has_limits_for_tasks_that_have_none(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(json.dumps([str(tmp_path), 1]) + "\n")
    limits = ("--timeout", "0.3 s", "--max-memory", "2 GiB")
    with program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "1", *limits) as node:
        job = ("run", "chores:wait_for", "in", "--spread", "--node", node.address)
        done = run(tmp_path, *job)
        assert "its timeout of 0.3 s" in lines(done.stdout)[0]["error"]["message"]
        done = run(tmp_path, *job, "--timeout", "0.2 s", "--grace", "20 s")
        assert "its timeout of 0.2 s, and was interrupted" in lines(done.stdout)[0]["error"]["message"]
        done = run(tmp_path, *job, "--timeout", "30 s", "--stall-timeout", "0.2 s")
        assert "its stall_timeout is 0.2 s" in lines(done.stdout)[0]["error"]["message"]


def test_a_node_in_place_of_the_sink_is_told(tmp_path: Path) -> None:
    with (
        program(tmp_path, "a", "worker", "--bind", ANY, "--workers", "1") as first,
        program(tmp_path, "b", "worker", "--bind", ANY, "--workers", "1") as second,
    ):
        where = ("--node", first.address, "--sink", second.address)
        swapped = run(tmp_path, "ventilator", "chores:double", *where, stdin="1\n")
    assert (swapped.returncode, "it is a node, not a sink" in swapped.stderr) == (4, True)


def test_a_ventilator_without_a_sink_collects_the_results(tmp_path: Path) -> None:
    with (
        program(tmp_path, "a", "worker", "--bind", ANY, "--workers", "1") as first,
        program(tmp_path, "b", "worker", "--bind", ANY, "--workers", "1") as second,
    ):
        nodes = ("--node", first.address, "--node", second.address)
        done = run(tmp_path, "ventilator", "chores:double", *nodes, "-o", "x.db", stdin=numbers(500))
        assert (done.returncode, done.stderr) == (0, "")
        assert recorded(tmp_path / "x.db") == {n: 2 * n for n in range(500)}
        done = run(tmp_path, "run", "chores:double", *nodes, stdin=numbers(5))
        assert sorted(entry["value"] for entry in lines(done.stdout).values()) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(("output", "through"), [("x.db", "unix"), ("x.jsonl", "tcp")])
def test_kill_9_of_the_sink_loses_and_doubles_nothing(tmp_path: Path, output: str, through: str) -> None:
    """Over tcp the next sink says at once that it knows no such session; here 10 s of silence have to tell."""
    address, total = f"tcp://127.0.0.1:{free_port()}", 100
    (tmp_path / "in").write_text(numbers(total))
    sink = ("sink", "--bind", address, "-o", output, *(("--advertise", address) if through == "tcp" else ()))
    with program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "2") as node:
        job = ("ventilator", "chores:wait_a_moment", "in", "--node", node.address, "--sink", address)
        with program(tmp_path, "first", *sink) as first:
            first.address  # ready
            with program(tmp_path, "ventilator", *job) as ventilator:
                wait_until(lambda: len(recorded(tmp_path / output)) > 20, lambda: ventilator.stderr)
                first.signal(signal.SIGKILL)
                first.wait()
                assert len(recorded(tmp_path / output)) < total
                with program(tmp_path, "second", *sink) as second:
                    second.address  # ready
                    assert ventilator.wait() == 0, ventilator.stderr
                    second.signal(signal.SIGINT)
                    assert second.wait() == 0
    assert recorded(tmp_path / output) == {n: n for n in range(total)}


def test_a_node_that_drains_finishes_what_runs(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(json.dumps([str(tmp_path), 0]))
    with program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "1") as node:
        with program(tmp_path, "run", "run", "chores:wait_for", "--spread", "in", "--node", node.address) as it:
            wait_until((tmp_path / "begun-0").exists, lambda: it.stderr)
            node.signal(signal.SIGINT)
            wait_until(lambda: "draining" in node.stderr, lambda: node.stderr)
            (tmp_path / "go").touch()
            assert it.wait() == 0
        assert node.wait() == 0
        assert lines(it.stdout)[0]["value"] == 0


def test_a_second_signal_ends_a_node_at_once(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(json.dumps([str(tmp_path), 0]))
    with (
        program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "1") as node,
        program(tmp_path, "run", "run", "chores:wait_for", "--spread", "in", "--node", node.address) as it,
    ):
        wait_until((tmp_path / "begun-0").exists, lambda: it.stderr)
        node.signal(signal.SIGTERM)
        wait_until(lambda: "draining" in node.stderr, lambda: node.stderr)
        node.signal(signal.SIGTERM)
        assert node.wait() == 130


def test_an_address_that_is_taken_exits_4(tmp_path: Path) -> None:
    with program(tmp_path, "sink", "sink", "--bind", ANY, "-o", "x.db") as sink:
        address = sink.address
        for args in (("worker", "--bind", address), ("sink", "--bind", address, "-o", "y.db")):
            done = run(tmp_path, *args)
            assert done.returncode == 4
            assert done.stderr.startswith(f"zmqtasks: error: cannot bind {address}: the address is in use")


def test_status_names_who_does_not_answer(tmp_path: Path) -> None:
    with program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "1") as node:
        args = ("--node", node.address, "--node", "127.0.0.1:1", "--timeout", "0.3 s")
        status = run(tmp_path, "status", *args)
        assert status.returncode == 4
        head, row = status.stdout.splitlines()
        assert head.split() == [
            "address",
            "role",
            "state",
            "workers",
            "busy",
            "queued",
            "done",
            "failed",
            "lost",
            "memory",
            "peer",
        ]
        assert row.split()[:4] == [node.address, "node", "up", "1"]
        assert status.stderr == "zmqtasks: error: tcp://127.0.0.1:1 did not answer within 0.3 s\n"


def test_workers_find_modules_where_they_are_told(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.py").write_text("def away(x):\n    return ['far', x]\n")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "far.py").write_text("def away(x): ...\n")
    with program(
        tmp_path, "worker", "worker", "--bind", ANY, "--workers", "1", "--python-path", "elsewhere", "--preload", "far"
    ) as node:
        done = run(tmp_path / "here", "run", "far:away", "--node", node.address, stdin="1\n")
        assert (done.returncode, lines(done.stdout)[0]["value"]) == (0, ["far", 1])


def test_a_routable_address_is_announced_as_what_it_is(tmp_path: Path) -> None:
    args = ("--bind", "0.0.0.0:0", "--advertise", "127.0.0.1:9", "--insecure")
    with program(tmp_path, "sink", "sink", *args, "-o", "x.db") as sink:
        wait_until(lambda: "ready at" in sink.stderr, lambda: sink.stderr)
        warning = "zmqtasks: INSECURE: whoever can connect to tcp://0.0.0.0:0 can run code as this user"
        assert warning in sink.stderr
