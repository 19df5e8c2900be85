"""A mesh over hosts: nodes, and a client under steady load; and a judgement of what became of its rate.

The rate is judged by when results came, in bins of 0.1 s; `back_after` says when it was again what it had been.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.hosts.load import BIN_S, TURNS_A_BIN
from tests.hosts.netns import Host
from tests.mesh.chaos.roles import Role, wait_for

PORT = 7700
RESULT_S = 60.0
END_S = 300.0
WINDOW = 5
"""Bins that have to be full one with the other: what had waited at the nodes comes all at once, and is no rate."""
FULL = 0.8
AWAKE = 0.6

MakeRole = Callable[[str, list[str], bool], Role]
"""Return a role of this name and command line that takes input, or not; it is not started yet."""


def endpoint_of(host: Host) -> str:
    """Return where the node of a host listens."""
    return f"tcp://{host.address}:{PORT}"


def start_nodes(hosts: list[Host], make_role: MakeRole, *, workers: int = 2) -> list[Role]:
    """Start a node on each host, and wait until they are ready."""
    roles = []
    for host in hosts:
        endpoint = endpoint_of(host)
        # Advertised, so that it has no Unix socket; namespaces are told apart, but this holds in any case.
        args = ("--bind", endpoint, "--advertise", endpoint, "--insecure", "--workers", str(workers))
        line = host.command(sys.executable, "-m", "zmqtasks", "-v", "worker", *args)
        roles.append(make_role(f"node-{host.number}", line, False).start())
    for role in roles:
        role.await_ready()
    return roles


class Load:
    """A client under load on a host; it is started, and has had its first result.

    Args:
        host: where it runs.
        nodes: hosts of its nodes.
        make_role: makes its process.
        args: of `load.py`.
    """

    def __init__(self, host: Host, nodes: list[Host], make_role: MakeRole, *args: str) -> None:
        endpoints = [endpoint_of(node) for node in nodes]
        program = (sys.executable, "-m", "tests.hosts.load", *endpoints, "--bind", f"tcp://{host.address}:0", *args)
        self.role = make_role("load", host.command(*program), True).start()
        self._wanted = 1
        self.wait_for_result()

    def want_result(self) -> None:
        """Ask to be told of the next result that comes."""
        self._wanted += 1
        self.role.input.write(b"\n")
        self.role.input.flush()

    def wait_for_result(self) -> None:
        """Wait for the first result since the start, or since one was wanted.

        Raises:
            TimeoutError: none came within a minute.
        """
        if not wait_for(lambda: self.role.output.count("came\n") >= self._wanted or not self.role.is_alive, RESULT_S):
            raise TimeoutError(f"no result came in {RESULT_S:g} s; {self._log()}")

    def stop(self) -> Judgement:
        """Hand out no more, wait for the rest, and return what came.

        Raises:
            RuntimeError: it failed.
            TimeoutError: it has not ended.
        """
        self.role.input.close()
        if self.role.wait(END_S):
            raise RuntimeError(f"the client under load failed: {self._log()}")
        record: dict[str, Any] = json.loads(self.role.output.splitlines()[-1])
        return Judgement(
            record["handed_out"], record["lost"], record["doubled"], dict(record["bins"]), dict(record["turns"])
        )

    def _log(self) -> str:
        return self.role.log.read_text(errors="replace")[-2000:]


class Judgement(NamedTuple):
    """What a load has said in the end: numbers of tasks, and what came in each bin of time."""

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
        return statistics.median(self.bins.get(b, 0) for b in _between(start, end))

    def was_awake(self, start: float, end: float) -> bool:
        """Tell whether the client had the processor in most bins, when it wanted it."""
        turns = [self.turns.get(b, 0) for b in _between(start, end)]
        return statistics.mean(turns) >= AWAKE * TURNS_A_BIN and turns.count(0) <= 1

    def back_after(self, healed_at: float, usual: float) -> float | None:
        """Return how many seconds after `healed_at` the rate was 80 % of `usual` again, or None if it never was.

        A bin counts no more than usual: what had waited at the nodes and comes all at once is no rate.
        """
        last = max(self.bins, default=0)
        for start in range(int(healed_at / BIN_S), last - WINDOW + 2):
            counts = [min(self.bins.get(b, 0), usual) for b in range(start, start + WINDOW)]
            if sum(counts) >= FULL * usual * WINDOW:
                return max(0.0, start * BIN_S - healed_at)
        return None


def _between(start: float, end: float) -> range:
    return range(int(start / BIN_S), max(int(end / BIN_S), int(start / BIN_S) + 1))
