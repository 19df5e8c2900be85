"""Small facts about processes and hosts, and what a worker imports."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.waiting import wait_until
from zmqtasks.processes import exits, usage
from zmqtasks.processes.command import python_command
from zmqtasks.processes.exits import ExitWatch


def test_memory_of_a_process() -> None:
    measured = psutil.Process().memory_info().rss
    assert abs(usage.rss_bytes(os.getpid()) - measured) < measured / 10
    assert abs(usage._rss_by_psutil(os.getpid()) - measured) < measured / 10
    assert usage.rss_bytes(2**22 + 1) == usage._rss_by_psutil(2**22 + 1) == 0


def test_memory_of_a_tree_counts_what_is_shared_once() -> None:
    program = "import os, signal; held = bytearray(100_000_000); os.fork(); os.fork(); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as parent:
        wait_until(lambda: len(usage.tree(parent.pid)) == 4, lambda: usage.tree(parent.pid))
        assert sorted(usage.tree(parent.pid)) == sorted(usage._tree_by_psutil(parent.pid))
        assert usage.tree_rss_bytes(parent.pid) > 400_000_000
        assert 100_000_000 < usage.tree_unique_bytes(parent.pid) < 150_000_000
        os.killpg(parent.pid, signal.SIGKILL)
    assert usage.tree_rss_bytes(parent.pid) == usage.tree_unique_bytes(parent.pid) == 0


def test_a_host_has_one_name() -> None:
    program = "from zmqtasks.processes.usage import host_id; print(host_id())"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert other == usage.host_id()


def test_a_host_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(usage.os, "stat", refuse)
    assert usage.host_id.__wrapped__().startswith(usage.platform.node())


@pytest.mark.parametrize("module", ["zmqtasks.processes.worker", "zmqtasks.processes.zygote"])
def test_a_worker_imports_only_what_it_needs(module: str) -> None:
    program = f"import {module}, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    unwanted = {"zmq", "click", "rich", "asyncio", "psutil", "subprocess", "cloudpickle", "lz4", "multiprocessing"}
    assert unwanted.isdisjoint(loaded)


def test_a_child_finds_this_copy_of_zmqtasks_and_no_stranger(tmp_path: os.PathLike[str]) -> None:
    with open(os.path.join(tmp_path, "json.py"), "w") as file:
        file.write("raise SystemExit('a stranger')")
    command = python_command("zmqtasks.processes.usage")
    command[-1] = command[-1].replace("import main; main()", "import host_id; import json; print(json.__file__)")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert str(tmp_path) not in done.stdout


@pytest.mark.parametrize("by_poll", [True, False])
@pytest.mark.parametrize(
    ("code", "signal_number", "exit_code"), [("exit(3)", None, 3), ("import os; os.abort()", 6, None)]
)
def test_the_end_of_a_child(by_poll: bool, code: str, signal_number: int | None, exit_code: int | None) -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    watch = ExitWatch(loop, pid, ended.set, by_poll=by_poll)
    try:
        loop.run_until_complete(asyncio.wait_for(ended.wait(), 10))
    finally:
        loop.close()
    assert exits._is_zombie(pid)
    ended_so = watch.reap()
    assert (ended_so.signal, ended_so.code) == (signal_number, exit_code)
    assert ended_so.peak_bytes > 2**20
    assert exits.has_ended(pid)
    assert exits.reap(pid) == (None, 0, 0)
