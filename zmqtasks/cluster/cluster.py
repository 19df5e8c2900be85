"""`zmqtasks.Cluster`: the hosts of a file as one thing, which a client uses like an address.

Owns the keeper's process where there is none yet. What is done with hosts is done there (`keeper.py`). Called by user
programs and by the commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from zmqtasks import doors
from zmqtasks.cluster.conversation import LONGEST_LINE, ask
from zmqtasks.cluster.hosts import read_hosts
from zmqtasks.cluster.records import ClusterRecord
from zmqtasks.embedded.finding import Finder, Inbox
from zmqtasks.errors import ClusterError, ZmqtasksError
from zmqtasks.processes.launch import Launched, launch
from zmqtasks.records import Value

UP_S = 100.0
"""How long hosts may take before those that are up are what there is."""
KEEPER_S = 30.0
MARGIN_S = 30.0


class HostStatus(Value):
    """How one host of a cluster is."""

    host: str
    state: str
    """waiting, starting, up, stopping, ended or broken."""
    node: str
    """Where programs on this machine reach its node; empty while it is not up."""
    python: str
    reason: str
    """Why it is not up."""


class Cluster:
    """Nodes on the hosts of a file, started through ssh; a context manager.

        with zmqtasks.Cluster("hosts.toml") as cluster, zmqtasks.Client(cluster) as client:
            client.map(f, xs)

    Where `zmqtasks cluster up` has started the cluster of this file, it is used, and left running. Otherwise it is
    started here and ends with this program, however that ends. Hosts may come and go meanwhile: a client learns of it.

    Args:
        path: the file of hosts; docs/clusters.md has its words.
        timeout: seconds that hosts may take; those that are up then are used, the others come later.

    Raises:
        HostsFileError: the file is wrong; the text names line and key.
    """

    def __init__(self, path: str | Path, *, timeout: float = UP_S) -> None:
        self._path = Path(path)
        self._timeout_s = timeout
        self._plan = read_hosts(path)
        self._launched: Launched | None = None
        self._control = ""

    def start(self) -> Self:
        """Find the cluster, or start it, and wait until its hosts are up, or known not to be.

        Raises:
            ClusterError: none is up in time.
        """
        running = ClusterRecord(self._path).running()
        try:
            self._control = running["control"] if running else self._begin()
            statuses = list(settle(self._control, self._timeout_s))
            if not any(host.state == "up" for host in statuses[-1]):
                raise ClusterError(f"no host of {self._path} is up: {reasons(statuses[-1])}")
        except BaseException:
            self.close()
            raise
        return self

    def _begin(self) -> str:
        self._launched, control = start_keeper(self._path, detached=False)
        return control

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return where the nodes that are up can be reached from this machine."""
        return tuple(self._ask_status()["nodes"])

    def status(self) -> list[HostStatus]:
        """Return how each host is."""
        return host_statuses(self._ask_status())

    def finder(self) -> Finder:
        """Return what tells a client of the nodes; see `Client`."""
        return _Membership(self._control, self._ask_status())

    def _ask_status(self) -> dict[str, Any]:
        if not self._control:
            raise RuntimeError("the cluster is not open: use it in a with statement, or call start()")
        return next(ask(self._control, {"ask": "status"}, KEEPER_S))

    def close(self) -> None:
        """End the cluster, unless it ran before; what runs on its nodes may end first. Idempotent."""
        launched, self._launched, self._control = self._launched, None, ""
        if launched is not None:
            launched.close(self._plan.grace_s + MARGIN_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<zmqtasks.Cluster {self._path}{'' if self._control else ', not open'}>"


def start_keeper(path: str | Path, *, detached: bool) -> tuple[Launched, str]:
    """Start the process that holds a cluster; return it, and where it is asked.

    Raises:
        ClusterError: it cannot begin; the text says why.
    """
    config = {"hosts": str(Path(path).absolute()), "detached": detached}
    launched = launch("zmqtasks.cluster.keeper", config, output="none")
    try:
        report = launched.report(KEEPER_S)
        if not report["ok"]:
            raise ClusterError(report["error"])
    except BaseException:
        launched.close()
        raise
    return launched, report["control"]


def host_statuses(status: dict[str, Any]) -> list[HostStatus]:
    """Return what a keeper says of its hosts."""
    return [HostStatus(**host) for host in status["hosts"]]


def settle(control: str, timeout_s: float, *, again: bool = False) -> Iterator[list[HostStatus]]:
    """Yield how the hosts of a keeper are at each change, until all is settled or nothing changes for so long.

    Args:
        control: where the keeper is asked.
        timeout_s: how long.
        again: whether it shall read its file again first, and start what is new in it, or has ended.

    Raises:
        ClusterError: the file is wrong, or the keeper has gone.
    """
    with contextlib.suppress(TimeoutError):
        for status in ask(control, {"ask": "up", "again": again}, timeout_s):
            yield host_statuses(status)


def reasons(hosts: Sequence[HostStatus]) -> str:
    """Return why hosts are not up."""
    return "; ".join(f"{host.host}: {host.reason or host.state}" for host in hosts if host.state != "up")


class _Membership(Finder):
    """A client's part in a cluster: it hears of the nodes, and they reach it, as long as its connection stands."""

    def __init__(self, control: str, status: dict[str, Any]) -> None:
        self._control = control
        self._status = status
        self._reading: asyncio.Task[None] | None = None
        self._closed = False
        self._writer: asyncio.StreamWriter | None = None

    def inbox(self) -> Inbox:
        """Return where the client's inbox has to be; called before it is made."""
        status = self._status
        if status["tunnel"]:
            return Inbox()
        key, insecure = status["key"], status["insecure"]
        bind = (_endpoint(status["bind"]),) if status["bind"] else ()
        return Inbox(bind or doors.choose(status["nodes"], key=key, insecure=insecure), key, insecure)

    async def open(
        self, inbox: str, on_nodes: Callable[[Sequence[str]], object], on_lost: Callable[[str], object]
    ) -> tuple[str, ...]:
        """Join; return what the client shall advertise, or nothing for where it listens."""
        reader, self._writer = await asyncio.open_unix_connection(self._control, limit=LONGEST_LINE)
        self._writer.write(json.dumps({"ask": "join", "inbox": inbox}).encode() + b"\n")
        first = json.loads(await reader.readline() or b'{"error": "the keeper of the cluster has gone"}')
        if "error" in first:
            raise ClusterError(first["error"])
        self._reading = asyncio.ensure_future(self._read(reader, on_nodes, on_lost))
        return (first["advertise"],) if first["advertise"] else ()

    async def _read(
        self,
        reader: asyncio.StreamReader,
        on_nodes: Callable[[Sequence[str]], object],
        on_lost: Callable[[str], object],
    ) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                on_nodes(json.loads(line)["nodes"])
        if not self._closed:
            on_lost("the cluster was ended, or the process that held it has died; start it with: zmqtasks cluster up")

    async def close(self) -> None:
        """Leave."""
        self._closed = True
        if self._writer is not None:
            self._writer.close()
        if self._reading is not None:
            with contextlib.suppress(OSError, ZmqtasksError, asyncio.CancelledError):
                await self._reading


def _endpoint(address: str) -> str:
    return address if "://" in address else f"tcp://{address}"
