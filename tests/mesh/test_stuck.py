"""A worker in uninterruptible sleep costs its slot, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import zmqtasks
from tests.cli import programs
from tests.mesh import functions
from tests.processes.freezer import freezer
from tests.waiting import wait_until


def test_its_task_ends_others_go_on_and_the_status_tells(tmp_path: Path) -> None:
    call = ["worker", "--bind", "127.0.0.1:0", "--workers", "1", "--standby", "0"]
    with (
        freezer() as ice,
        programs.program(tmp_path, "node", *call) as node,
        zmqtasks.Client(node.address) as client,
    ):

        def lost() -> int:
            done = programs.run(tmp_path, "status", "--json", "--node", node.address)
            return int(json.loads(done.stdout)["lost"])

        marks = tmp_path / "marks"
        marks.mkdir()
        late = client.options(timeout=2.0).submit(functions.note_pid_and_wait, str(marks), str(tmp_path / "never"))
        (mark,) = wait_until(lambda: list(marks.iterdir()))
        ice.freeze(int(mark.name))
        with pytest.raises(zmqtasks.TaskTimeout):
            late.result(40)
        assert client.submit(functions.pid).result(30) != int(mark.name)
        assert lost() == 1
        assert f"(pid {mark.name}) was killed and does not end (state " in node.stderr
        ice.thaw()
        wait_until(lambda: lost() == 0, lambda: node.stderr)
        assert client.submit(functions.double, 1).result(30) == 2
