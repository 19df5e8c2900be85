"""`zmqtasks status`: what a file of results has, and why a sink cannot store."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.cli.programs import program, run
from tests.test_store import JOB, failed, keep, ok
from tests.waiting import wait_until
from zmqtasks.cli.status import status as command
from zmqtasks.store import open_store

ANY = "127.0.0.1:0"


def status(*args: str) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of `zmqtasks status`, called in this process."""
    done = CliRunner().invoke(command, args, standalone_mode=False)
    if isinstance(done.exception, click.UsageError):
        return done.exception.exit_code, done.stdout, done.exception.message
    assert done.exception is None, done.exception
    return done.return_value, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["x.db", "x.jsonl"])
def test_a_file_is_told_while_it_is_open(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / name)
    with open_store(path) as store:
        store.note_job(JOB, "package.f")
        keep(store, ok(0, [1, 2]), failed(2, ValueError()))
        code, printed, _ = status("--file", path)
        assert code == 0
        head, row = printed.splitlines()
        assert head.split()[:3] == ["file", "job", "function"]
        assert row.split()[:2] == [path, JOB]
        assert "None" not in row
        code, printed, _ = status("--json", "--file", path)
        told = json.loads(printed)
        assert (code, told["done"], told["failed"], told["total"]) == (0, 2, 1, None)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    code, printed, said = status("--file", str(tmp_path / "x.db"))
    assert (code, printed) == (2, "")
    assert "cannot read" in said
    assert "no such file" in said
    assert status()[0] == 2


def test_a_sink_that_cannot_store_says_so_and_lives_on(tmp_path: Path) -> None:
    with (
        program(tmp_path, "worker", "worker", "--bind", ANY, "--workers", "1") as node,
        program(tmp_path, "sink", "sink", "--bind", ANY, "-o", "/dev/full") as sink,
    ):
        (tmp_path / "in").write_text("1\n")
        job = ("ventilator", "chores:double", "in", "--node", node.address, "--sink", sink.address)
        with program(tmp_path, "ventilator", *job) as ventilator:
            reason = "the sink says: results cannot be stored: [Errno 28]"
            wait_until(lambda: reason in ventilator.stderr, lambda: (ventilator.stderr, sink.stderr), 30.0)
            assert "results cannot be stored, and are not acknowledged; trying again each 1 s" in sink.stderr
            shown = run(tmp_path, "status", "--node", sink.address, "--json")
            assert "No space left on device" in json.loads(shown.stdout)["trouble"]
            assert json.loads(shown.stdout)["metrics"] is None
            of_node = json.loads(run(tmp_path, "status", "--node", node.address, "--json").stdout)["metrics"]
            assert (of_node["done"], of_node["crashed"], of_node["task_s"]["count"]) == (1, 0, 1)
            assert of_node["starts"] >= 1
            assert "trouble" in run(tmp_path, "status", "--node", sink.address).stdout.splitlines()[0]
            assert sink.process.poll() is None
            assert ventilator.process.poll() is None
            for role in (ventilator, node, sink):  # in order they would end with what they have: that cannot be stored
                role.process.kill()
