"""Whoever is killed, and whatever tasks have started: nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mesh import runaways
from tests.waiting import wait_until
from zmqtasks.processes import cgroup, linux

pytestmark = pytest.mark.skipif(not linux.AVAILABLE, reason="needs Linux with pidfd")

VICTIMS: dict[str, Callable[[int, int, int], list[int]]] = {
    "client": lambda client, node, zygote: [client],
    "node": lambda client, node, zygote: [node, client],
    "client and node": lambda client, node, zygote: [client, node],
    "node and zygote": lambda client, node, zygote: [node, zygote, client],
    "zygote and node": lambda client, node, zygote: [zygote, node, client],
}


def kill_round(folder: Path, victims: str, cgroups: str) -> tuple[int, int]:
    """Start a client whose tasks misbehave, kill some processes at once; return brand and pid of its node."""
    command = [sys.executable, "-m", "tests.mesh.runaways", str(folder)]
    env = {**os.environ, "ZMQTASKS_CGROUPS": cgroups}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env) as process:
        assert process.stdout is not None
        try:
            word, node = process.stdout.readline().split()
            assert word == "up"
            zygote = runaways.zygote_of(int(node))
            number = runaways.brand(zygote)
            assert number is not None
            assert len(runaways.living(number)) > 2 * runaways.MANY
            for pid in VICTIMS[victims](process.pid, int(node), zygote):
                os.kill(pid, signal.SIGKILL)
        finally:
            process.kill()
    return number, int(node)


def groups(node: int) -> list[str]:
    """Return the cgroups of a node that are left."""
    base = cgroup._own_folder()
    return [path.name for path in base.glob(f"{cgroup.PREFIX}*-{node}-*")] if base else []


@pytest.mark.parametrize("cgroups", ["0", "1"])
@pytest.mark.parametrize("victims", VICTIMS)
def test_nothing_is_left(tmp_path: Path, temporary: Path, victims: str, cgroups: str) -> None:
    number, node = kill_round(tmp_path, victims, cgroups)
    wait_until(lambda: not runaways.living(number), lambda: runaways.living(number), timeout_s=4)
    wait_until(lambda: not os.listdir(temporary), lambda: os.listdir(temporary), timeout_s=4)
    wait_until(lambda: not groups(node), lambda: groups(node), timeout_s=4)
