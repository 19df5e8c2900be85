"""Starting a process of our own, and what is left when one of the two dies: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until
from zmqtasks.processes import linux
from zmqtasks.processes.launch import launch

SUPERVISOR = "tests.processes.supervisor"
ENV = {**os.environ, "PYTHONPATH": os.getcwd()}


def config_for(tmp_path: Path, **more: Any) -> dict[str, Any]:
    private = tmp_path / "private"
    private.mkdir()
    (private / "socket").touch()
    return {"folder": str(tmp_path), "cleanup_dir": str(private), **more}


def alive(pids: dict[str, int]) -> list[str]:
    found = []
    for name, pid in pids.items():
        stat = linux.stat_of(pid)
        if stat is not None and stat.state != "Z":  # whoever adopts orphans here may reap late
            found.append(name)
    return found


def test_settings_in_report_out_lifeline(tmp_path: Path) -> None:
    with launch(SUPERVISOR, config_for(tmp_path), env=ENV) as node:
        report = node.report(20)
        assert report["ok"]
        assert len(report["pids"]) >= 5
        assert node.poll() is None
        assert os.getsid(node.pid) == node.pid
        assert node.close() == 0
        assert node.close() == 0
    wait_until(lambda: not alive(report["pids"]), lambda: alive(report["pids"]), timeout_s=2)
    assert not (tmp_path / "private").exists()


def test_a_refusal_is_reported() -> None:
    with launch(SUPERVISOR, {"refuse": "no port"}, env=ENV) as node:
        assert node.report(20) == {"ok": False, "error": "no port"}
        assert node.wait(10) == 0


def test_a_death_without_a_word_is_reported() -> None:
    with launch(SUPERVISOR, {"die": 7}, env=ENV) as node:
        report = node.report(20)
        assert not report["ok"]
        assert "exit code 7" in report["error"]


def test_no_report_in_time(tmp_path: Path) -> None:
    with launch(SUPERVISOR, config_for(tmp_path), env=ENV) as node:
        with pytest.raises(TimeoutError, match="has not reported"):
            node.report(0)
        with pytest.raises(TimeoutError, match="still runs"):
            node.wait(0.001)
        assert node.report(20)["ok"]


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    with launch(SUPERVISOR, config_for(tmp_path, deaf=True), env=ENV, output="none") as node:
        pids = node.report(20)["pids"]
        assert node.close(timeout_s=0.1) == -signal.SIGKILL
    wait_until(lambda: not alive(pids), lambda: alive(pids), timeout_s=2)


def test_settings_that_json_cannot_carry() -> None:
    with pytest.raises(TypeError):
        launch(SUPERVISOR, {"set": {1}})


def test_settings_may_follow() -> None:
    with launch(SUPERVISOR, env=ENV) as node:
        node.configure({"refuse": "no port"})
        assert node.report(20) == {"ok": False, "error": "no port"}


def test_one_that_was_never_told_anything_ends_with_its_owner() -> None:
    with launch(SUPERVISOR, env=ENV, output="none") as node:
        node.hang_up()
        assert node.wait(20) == 1


@pytest.mark.skipif(not linux.AVAILABLE, reason="needs the zygote")
def test_a_killed_supervisor_leaves_nothing(tmp_path: Path) -> None:
    with launch(SUPERVISOR, config_for(tmp_path), env=ENV) as node:
        pids = node.report(20)["pids"]
        os.kill(node.pid, signal.SIGKILL)
        assert node.wait(5) == -signal.SIGKILL
        wait_until(lambda: not alive(pids), lambda: alive(pids), timeout_s=2)
        wait_until(lambda: not (tmp_path / "private").exists(), timeout_s=2)


def test_a_killed_supervisor_of_spawned_workers(tmp_path: Path) -> None:
    with launch(SUPERVISOR, config_for(tmp_path, method="spawn"), env=ENV) as node:
        pids = node.report(20)["pids"]
        os.kill(node.pid, signal.SIGKILL)
        node.wait(5)
        workers = {name: pids[name] for name in ("hanging", "idle")}
        wait_until(lambda: not alive(workers), lambda: alive(workers), timeout_s=2)
        for name in alive(pids):  # without a zygote nobody is left to look for what tasks started
            os.kill(pids[name], signal.SIGKILL)


@pytest.mark.skipif(not linux.AVAILABLE, reason="needs the zygote")
def test_a_killed_owner_leaves_nothing(tmp_path: Path) -> None:
    owner = (
        "import json, sys\nfrom zmqtasks.processes.launch import launch\n"
        f"node = launch({SUPERVISOR!r}, json.loads(sys.argv[1]))\n"
        "print(json.dumps(node.report(20)['pids'] | {'node': node.pid}), flush=True)\ninput()"
    )
    import json

    with subprocess.Popen(
        [sys.executable, "-c", owner, json.dumps(config_for(tmp_path))],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        pids = json.loads(process.stdout.readline())
        process.kill()
        killed_s = time.monotonic()
        wait_until(lambda: not alive(pids), lambda: alive(pids), timeout_s=2)
        wait_until(lambda: not (tmp_path / "private").exists(), timeout_s=2)
        assert time.monotonic() - killed_s < 3
