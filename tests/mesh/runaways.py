"""Processes that try to outlive their task, and a program whose tasks start all kinds of them.

python -m tests.mesh.runaways FOLDER        start them, say "up NODE", wait to be killed
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import zmqtasks
from zmqtasks.processes import linux

WAYS = ("plain", "setsid", "bare", "daemon", "deaf", "renamed", "many", "hydra")
MANY = 100
GENERATIONS = 3000
"""A hydra has so many lives at most: should all else fail, it ends by itself."""

RUNAWAY = f"""
import os, signal, sys, time
how, folder = sys.argv[1:]
def stay():
    open(folder + "/" + str(os.getpid()), "w").close()
    time.sleep(100)
    os._exit(0)
if how == "daemon":
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
elif how == "deaf":
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
elif how == "renamed":
    open("/proc/self/comm", "w").write("kworker/0:1")
elif how == "many":
    for _ in range({MANY}):
        if os.fork() == 0:
            os.setsid()
            time.sleep(100)
            os._exit(0)
elif how == "hydra":
    if os.fork() == 0:
        for _ in range({GENERATIONS}):
            if os.fork():
                os._exit(0)
            os.setsid()
            time.sleep(0.002)
stay()
"""


def scatter(folder: str, hows: tuple[str, ...] = WAYS) -> int:
    """Start one of each kind and wait for ever, without the tie to the supervisor; return nothing."""
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for how in hows:
        bare = how in ("bare", "daemon", "many", "hydra")
        command = [sys.executable, "-c", RUNAWAY, how, folder]
        process = subprocess.Popen(
            command, start_new_session=bare or how == "setsid", env={} if bare else None, close_fds=how != "plain"
        )
        process.returncode = 0  # nobody waits for it
    Path(folder, str(os.getpid())).touch()
    time.sleep(100)
    return 0


def brand(pid: int) -> int | None:
    """Return the number that all processes of a node share, or None."""
    try:
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
            if line.startswith("Max file locks"):
                soft = line.split()[3]
                return int(soft) >> 22 if soft.isdigit() else None
    except OSError:
        pass
    return None


def living(number: int) -> list[str]:
    """Return the processes of a node that live, with their names."""
    return [f"{pid} {stat.name}" for pid, stat in _all() if stat.state != "Z" and brand(pid) == number]


def _all() -> Iterator[tuple[int, linux.Stat]]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := linux.stat_of(int(name))) is not None:
            yield int(name), stat


def zygote_of(node: int) -> int:
    """Return the zygote of a node."""
    return next(
        pid for pid in linux.children_of(node) if (stat := linux.stat_of(pid)) and stat.name == "zmqtasks-zygote"
    )


def main(folder: str) -> None:
    """Be a client whose tasks misbehave."""
    client = zmqtasks.Client(workers=2)
    node = client.submit(os.getppid).result(30)
    futures = [client.submit(scatter, folder) for _ in range(2)]
    # Everybody has told of himself, but the hydras, which are never long enough the same.
    while len(os.listdir(folder)) < 2 * (1 + len(WAYS)):
        time.sleep(0.005)
    print("up", node, flush=True)
    futures[0].result()


if __name__ == "__main__":
    main(sys.argv[1])
