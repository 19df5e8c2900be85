"""The process that holds a cluster: connected with each host for as long as the cluster shall live.

It is started by `cluster.py`, for a program that wants a cluster of its own and ends with it, or detached, for
`zmqtasks cluster up`. When it dies, however, its connections end, and with them the nodes. Others talk to it through a
Unix socket in its private folder (`conversation.py`).

Owns the connections, the logs and the tunnels. Decides nothing about hosts: `machines/fleet.py` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from zmqtasks.cluster.conversation import serve
from zmqtasks.cluster.host_run import HostRun, Standing
from zmqtasks.cluster.hosts import ClusterPlan, read_hosts
from zmqtasks.cluster.launcher import Forward, SshLauncher
from zmqtasks.cluster.records import ClusterRecord
from zmqtasks.errors import ClusterError, HostsFileError
from zmqtasks.machines.fleet import (
    Command,
    Event,
    Fleet,
    HostBroken,
    HostLost,
    HostReady,
    HostsListed,
    HostState,
    StartHost,
    StopAsked,
)
from zmqtasks.processes.folder import PrivateFolder
from zmqtasks.processes.launch import Lifeline
from zmqtasks.transport.network import TUNNEL

logger = logging.getLogger(__name__)


class Keeper:
    """Hold one cluster.

    Args:
        loop: everything runs in its thread.
        plan: what the file of hosts says.
        folder: private, for sockets.
        record: where logs go.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, plan: ClusterPlan, folder: Path, record: ClusterRecord) -> None:
        self._loop = loop
        self._plan = plan
        self._folder = folder
        self._record = record
        self._fleet = Fleet()
        self._launcher = SshLauncher(plan.ssh_options, self._folder if plan.tunnel else None)
        self._runs: dict[str, HostRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._standings: dict[str, Standing] = {}
        self._nodes: dict[str, str] = {}
        """Of each host that is up: where programs here reach its node."""
        self._members: dict[str, str] = {}
        """Inboxes of the programs here that use the cluster, by the names of their sockets there."""
        self._ways = 0
        self._ending = False
        self._timer: asyncio.TimerHandle | None = None
        self._listeners: set[Callable[[], None]] = set()
        self.over = asyncio.Event()
        """Set when the cluster was ended, and nothing of it runs any more."""

    # What others ask; see `conversation.py`

    def read_again(self) -> None:
        """Read the file of hosts again: start what is new in it, end what is no more.

        Raises:
            HostsFileError: it cannot be read, or says something that only a new cluster can do.
        """
        plan = read_hosts(self._plan.path)
        if plan.tunnel != self._plan.tunnel or plan.ssh_options != self._plan.ssh_options:
            raise HostsFileError("tunnel and ssh_options are of the whole cluster: cluster down, then up again")
        self._plan = plan
        self.list_hosts()

    def list_hosts(self) -> None:
        """Start the hosts of the plan."""
        self._handle(HostsListed(tuple([host.name for host in self._plan.hosts])))

    def stop(self, names: list[str] | None, *, now: bool) -> None:
        """End the nodes of some hosts; or of all, and this keeper with them."""
        self._ending = self._ending or names is None
        self._handle(StopAsked(tuple(self._fleet.hosts if names is None else names), now))

    def status(self) -> dict[str, Any]:
        """Return how the hosts are."""
        hosts = [
            {
                "host": host.name,
                "state": host.state.value,
                "node": self._nodes.get(host.name, ""),
                "python": self._standings[host.name].versions.get("python", "") if host.name in self._nodes else "",
                "reason": host.reason if host.state is not HostState.UP else "",
            }
            for host in self._fleet.hosts.values()
        ]
        return {
            "hosts": hosts,
            "nodes": list(self._nodes.values()),
            "settled": self._fleet.is_settled(),
            "over": self._fleet.is_over(),
            "tunnel": self._plan.tunnel,
            "insecure": self._plan.insecure,
            "key": self._plan.key,
            "bind": self._plan.bind,
            "pid": os.getpid(),
        }

    def watch(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Have `on_change` called after each change; return what ends that."""
        self._listeners.add(on_change)
        return lambda: self._listeners.discard(on_change)

    async def join(self, inbox: str) -> str:
        """Let nodes reach the inbox of a program here; return where, or nothing where no tunnel is needed."""
        if not self._plan.tunnel:
            return ""
        name = secrets.token_hex(8)
        self._members[name] = inbox
        for host, run in list(self._runs.items()):
            if host in self._nodes:
                await self._open_ways_back(host, run)
        return f"{TUNNEL}{name}"

    async def leave(self, advertised: str) -> None:
        """Close the ways to a program that has gone."""
        name = advertised.removeprefix(TUNNEL)
        inbox = self._members.pop(name, None)
        for host, run in list(self._runs.items()):
            if inbox and name in run.members and host in self._standings:
                run.members.discard(name)
                with contextlib.suppress(ClusterError):
                    await run.forward([self._way_back(host, name, inbox)], cancel=True)
                run.forget(name)

    async def _open_ways_back(self, host: str, run: HostRun) -> None:
        """Let the node of a host reach all programs that use the cluster."""
        while missing := self._members.keys() - run.members:
            run.members |= missing
            try:
                await run.forward([self._way_back(host, name, self._members[name]) for name in sorted(missing)])
            except ClusterError as error:
                logger.warning("%s", error)

    def _way_back(self, host: str, name: str, inbox: str) -> Forward:
        return Forward(f"{self._standings[host].tunnels}/{name}", inbox, back=True)

    # Hosts

    def _handle(self, event: Event) -> None:
        self._carry_out(self._fleet.handle(event, self._loop.time()))

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self._fleet.tick(self._loop.time()))

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, StartHost):
                self._spawn(self._live(command.name))
            elif run := self._runs.get(command.name):
                run.stop(now=command.now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := self._fleet.next_deadline()) < float("inf"):
            self._timer = self._loop.call_at(deadline, self._tick)
        if self._ending and self._fleet.is_over():
            self.over.set()
        for listener in list(self._listeners):
            listener()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, name: str) -> None:
        """See one life of a host through."""
        host = self._plan.host(name)
        try:
            log = self._record.open_log(name)
        except ClusterError as error:
            self._handle(HostBroken(name, str(error)))
            return
        with log:
            run = self._runs[name] = HostRun(host, self._plan, self._launcher, log, self._ready)
            end = await run.run()
        for table in (self._runs, self._nodes, self._standings):
            table.pop(name, None)
        if isinstance(end, HostLost | HostBroken):
            logger.warning("%s: %s", name, end.reason)
        self._handle(end)

    def _ready(self, run: HostRun, standing: Standing) -> None:
        self._standings[run.name] = standing
        self._spawn(self._reach(run.name, run, standing))

    async def _reach(self, name: str, run: HostRun, standing: Standing) -> None:
        """Open the ways to a node that is ready; then it is up."""
        endpoint = standing.endpoints[0]
        if self._plan.tunnel:
            self._ways += 1
            entry = f"{self._folder}/node-{self._ways}"
            try:
                await run.forward([Forward(entry, endpoint.removeprefix("unix://"))])
            except ClusterError as error:
                logger.warning("%s", error)
                run.give_up(str(error))
                return
            await self._open_ways_back(name, run)
            endpoint = f"unix://{entry}"
        if self._runs.get(name) is run:
            self._nodes[name] = endpoint
            logger.info("%s: up at %s", name, endpoint)
            self._handle(HostReady(name))


def main(report_fd: int) -> None:
    """Hold a cluster: for our owner, or detached, until somebody ends it."""
    lifeline = Lifeline(report_fd)
    config = lifeline.read_config()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(lifeline, config))


async def _main(lifeline: Lifeline, config: dict[str, Any]) -> None:
    record = ClusterRecord(config["hosts"])
    folder = PrivateFolder()
    try:
        plan = read_hosts(config["hosts"])
        if config["detached"] and not record.claim():
            raise ClusterError("another `zmqtasks cluster up` is under way for this file")
        logging.basicConfig(filename=record.keeper_log(), format="%(asctime)s %(message)s", level=logging.INFO)
        keeper = Keeper(asyncio.get_running_loop(), plan, folder.path, record)
        control = str(folder.path / "control")
        async with await serve(control, keeper):
            if config["detached"]:
                record.publish(pid=os.getpid(), control=control)
            else:
                lifeline.watch(asyncio.get_running_loop(), lambda: keeper.stop(None, now=False))
            lifeline.report(control=control)
            keeper.list_hosts()
            await keeper.over.wait()
    except (ClusterError, OSError) as error:
        lifeline.report_error(str(error))
    finally:
        record.release()
        folder.close()
