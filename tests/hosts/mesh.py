"""A mesh over hosts: a node on each but the first, and there a client under steady load; and what became of its rate.

The rate is judged from outside, in bins of 0.1 s: `back_after` says when it was what it had been.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.hosts.load import BIN_S
from tests.hosts.netns import Host
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PORT = 7700
START_S = 60.0
END_S = 120.0
WINDOW = 5
"""Bins that have to be full one with the other: what had waited at the nodes comes all at once, and is no rate."""
FULL = 0.8


class Judgement(NamedTuple):
    """What a load has said in the end."""

    handed_out: int
    lost: int
    doubled: int
    bins: dict[int, int]
    turns: dict[int, int]

    @property
    def last_at(self) -> float:
        """Return when the last result came, rounded down."""
        return max(self.bins, default=0) * BIN_S

    def rate(self, start: float, end: float) -> float:
        """Return the median of results a bin between two times."""
        counts = [self.bins.get(b, 0) for b in range(int(start / BIN_S), int(end / BIN_S))]
        return statistics.median(counts) if counts else 0.0

    def back_after(self, healed_at: float, usual: float) -> float | None:
        """Return how many seconds after `healed_at` the rate was 80 % of `usual` again, or None if it never was.

        A bin counts no more than usual: what had waited at the nodes and comes all at once is no rate.
        """
        first = int(healed_at / BIN_S)
        last = max(self.bins, default=0)
        for start in range(first, last - WINDOW + 2):
            counts = [min(self.bins.get(b, 0), usual) for b in range(start, start + WINDOW)]
            if sum(counts) >= FULL * usual * WINDOW:
                return max(0.0, start * BIN_S - healed_at)
        return None


class Loaded:
    """A client under load on a host."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def want_result(self) -> None:
        """Ask to be told of the next result that comes."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def wait_for_result(self) -> float:
        """Wait for the first result since the start or since one was wanted; return the monotonic time.

        Raises:
            AssertionError: none came within a minute.
        """
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        line = self._process.stdout.readline() if ready else "nothing"
        assert line == "came\n", f"{line!r} in {START_S:g} s; {self._tail()}"
        return time.monotonic()

    def stop(self) -> Judgement:
        """Hand out no more, wait for the rest, and return what came.

        Raises:
            AssertionError: it did not end, or failed.
        """
        try:
            said, _ = self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            raise AssertionError(f"the client still waits after {END_S:g} s; {self._tail()}") from error
        assert self._process.returncode == 0, self._tail()
        record: dict[str, Any] = json.loads(said)
        return Judgement(
            record["handed_out"], record["lost"], record["doubled"], dict(record["bins"]), dict(record["turns"])
        )

    def _tail(self) -> str:
        return self._log.read_text()[-2000:]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def nodes_on(
    hosts: list[Host], folder: Path, *, workers: int = 2, env: dict[str, str] | None = None
) -> Iterator[list[str]]:
    """Run a node on each host; yield where they listen."""
    endpoints = [f"tcp://{host.address}:{PORT}" for host in hosts]
    logs = [folder / f"node-{host.number}.txt" for host in hosts]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for host, endpoint, log in zip(hosts, endpoints, logs, strict=True):
            processes.append(_start_node(host, endpoint, log, workers, env or environment()))
        for log in logs:
            wait_until(lambda log=log: "ready at" in log.read_text(), lambda log=log: log.read_text(), START_S)
        yield endpoints
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
        for process in processes:
            _end(process)


def _start_node(host: Host, endpoint: str, log: Path, workers: int, env: dict[str, str]) -> subprocess.Popen[bytes]:
    # Advertised, so that it has no Unix socket; namespaces are told apart, but this holds in any case.
    args = ("--bind", endpoint, "--advertise", endpoint, "--insecure", "--workers", str(workers))
    command = host.command(sys.executable, "-m", "zmqtasks", "worker", *args)
    with open(log, "wb") as file:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=ROOT, env=env)


@contextlib.contextmanager
def load_on(
    host: Host, endpoints: list[str], folder: Path, *args: str, env: dict[str, str] | None = None
) -> Iterator[Loaded]:
    """Run a client under load on a host; it has had its first result. `args` are those of `load.py`."""
    log = folder / "load.txt"
    program = (sys.executable, "-m", "tests.hosts.load", *endpoints, "--bind", f"tcp://{host.address}:0", *args)
    with open(log, "wb") as stderr:
        process = subprocess.Popen(
            host.command(*program),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=ROOT,
            env=env or environment(),
            text=True,
        )
    loaded = Loaded(process, log)
    try:
        loaded.wait_for_result()
        yield loaded
    finally:
        process.kill()
        process.communicate()


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def pause(seconds: float) -> float:
    """Let the mesh run for a while; return the monotonic time after it."""
    time.sleep(seconds)
    return time.monotonic()
