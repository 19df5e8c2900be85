"""Which hosts of a cluster are started, which are stopped, and when one that was lost is tried again.

Owns the state of each host. Knows no process and no address: `cluster/keeper.py` starts what it is told to, and tells
what became of it. A host that ends where nobody asked for it is tried again, later each time; one that says that it
cannot work is not, until somebody asks for it anew.

    WAITING ──▶ STARTING ──▶ UP ──▶ STOPPING ──▶ ENDED
       ▲            │         │
       └────────────┴─────────┘ lost                        STARTING ──▶ BROKEN
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from zmqtasks.errors import LocalProtocolError
from zmqtasks.records import Entity, Value

AT_ONCE = 8
"""Hosts that are on their way at the same time: a default sshd refuses some of more than ten connections that have not
logged in (MaxStartups 10:30:100), and many hosts may be behind one jump host."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
TRIES = 3
"""So often a host may be lost before it is told as missing; it is tried on."""


class HostState(StrEnum):
    """How far a host has come."""

    WAITING = "waiting"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    ENDED = "ended"
    BROKEN = "broken"


class HostsListed(Value):
    """The hosts that shall be there, all of them; those that ended or are broken are started anew."""

    names: tuple[str, ...]


class StopAsked(Value):
    """These hosts shall end: in order, or with `now` at once."""

    names: tuple[str, ...]
    now: bool = False


class HostReady(Value):
    """A host that was started takes work."""

    name: str


class HostLost(Value):
    """What was started on a host has ended, or the way to it; `chance` in [0, 1) spreads the next tries."""

    name: str
    reason: str
    chance: float


class HostEnded(Value):
    """What was started on a host has ended in order."""

    name: str


class HostBroken(Value):
    """What was started on a host cannot work there."""

    name: str
    reason: str


Event = HostsListed | StopAsked | HostReady | HostLost | HostEnded | HostBroken


class StartHost(Value):
    """Start a host."""

    name: str


class StopHost(Value):
    """End what was started on a host."""

    name: str
    now: bool = False


Command = StartHost | StopHost


class HostRecord(Entity):
    """What is known of a host."""

    name: str
    state: HostState = HostState.WAITING
    wanted: bool = True
    losses: int = 0
    """In a row."""
    due: float = 0.0
    reason: str = ""
    """Why it is not up, for people."""


_STARTED = (HostState.STARTING, HostState.UP, HostState.STOPPING)
_LEGAL: dict[type[Value], tuple[HostState, ...]] = {
    HostReady: (HostState.STARTING, HostState.STOPPING),
    HostLost: _STARTED,
    HostEnded: _STARTED,
    HostBroken: _STARTED,
}


class Fleet:
    """The hosts of one cluster; see the module."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self.hosts: dict[str, HostRecord] = {}
        self._at_once = at_once

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take an event; return what is to be done."""
        commands: list[Command] = []
        match event:
            case HostsListed(names):
                commands = self._list(names, now)
            case StopAsked(names, at_once):
                commands = [c for name in names if (host := self.hosts.get(name)) for c in self._stop(host, at_once)]
            case HostReady(name):
                host = self._host(event, name)
                if host.state is HostState.STARTING:
                    host.state, host.losses, host.reason = HostState.UP, 0, ""
            case HostLost(name, reason, chance):
                self._lose(self._host(event, name), reason, now, chance)
            case HostEnded(name):
                self._end(self._host(event, name), HostState.ENDED, "it has ended", now)
            case _:
                self._end(self._host(event, event.name), HostState.BROKEN, event.reason, now)
        return [*commands, *self.tick(now)]

    def tick(self, now: float) -> list[Command]:
        """Return which hosts are to be started now."""
        room = self._at_once - sum(host.state is HostState.STARTING for host in self.hosts.values())
        due = [host for host in self.hosts.values() if host.state is HostState.WAITING and host.due <= now]
        starting = sorted(due, key=lambda host: host.due)[: max(room, 0)]
        for host in starting:
            host.state = HostState.STARTING
        return [StartHost(host.name) for host in starting]

    def next_deadline(self) -> float:
        """Return when to tick next; a host that waits for room is started when another one has come so far."""
        waiting = [host.due for host in self.hosts.values() if host.state is HostState.WAITING]
        starting = sum(host.state is HostState.STARTING for host in self.hosts.values())
        return min(waiting, default=float("inf")) if starting < self._at_once else float("inf")

    def is_settled(self) -> bool:
        """Tell whether each host is up, has ended, is broken, or was lost so often that nobody should wait for it."""
        return not any(
            host.state in (HostState.STOPPING, HostState.STARTING, HostState.WAITING) and host.losses < TRIES
            for host in self.hosts.values()
        )

    def is_over(self) -> bool:
        """Tell whether nothing runs anywhere, and nothing will be started."""
        return not any(host.state is HostState.WAITING or host.state in _STARTED for host in self.hosts.values())

    def check(self) -> None:
        """Assert what always holds."""
        assert sum(host.state is HostState.STARTING for host in self.hosts.values()) <= self._at_once
        assert all(host.wanted for host in self.hosts.values() if host.state in (HostState.WAITING, HostState.UP))

    def _list(self, names: tuple[str, ...], now: float) -> list[Command]:
        for name in names:
            host = self.hosts.setdefault(name, HostRecord(name, due=now))
            host.wanted = True
            if host.state in (HostState.ENDED, HostState.BROKEN):
                host.state, host.losses, host.due = HostState.WAITING, 0, now
        return self._stop_all(host for host in list(self.hosts.values()) if host.name not in names)

    def _stop_all(self, hosts: Iterable[HostRecord]) -> list[Command]:
        commands: list[Command] = []
        for host in hosts:
            commands += self._stop(host, False)
            if host.state not in _STARTED:
                del self.hosts[host.name]
        return commands

    def _stop(self, host: HostRecord, now: bool) -> list[Command]:
        host.wanted = False
        if host.state is HostState.WAITING:
            host.state, host.reason = HostState.ENDED, "it was stopped"
        if host.state not in _STARTED or (host.state is HostState.STOPPING and not now):
            return []
        host.state = HostState.STOPPING
        return [StopHost(host.name, now)]

    def _lose(self, host: HostRecord, reason: str, now: float, chance: float) -> None:
        if not host.wanted:
            self._end(host, HostState.ENDED, reason, now)
            return
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(host.losses, 16))
        host.losses += 1
        host.state, host.reason, host.due = HostState.WAITING, reason, now + pause_s * (0.5 + chance)

    def _end(self, host: HostRecord, state: HostState, reason: str, now: float) -> None:
        if host.state is HostState.STOPPING and host.wanted:  # it was listed again meanwhile
            host.state, host.losses, host.due = HostState.WAITING, 0, now
        else:
            host.state, host.reason = state, reason

    def _host(self, event: Event, name: str) -> HostRecord:
        host = self.hosts.get(name)
        if host is None or host.state not in _LEGAL[type(event)]:
            raise LocalProtocolError(f"{event} is not for {host!r}")
        return host

    def __repr__(self) -> str:
        return f"<Fleet {', '.join(f'{host.name} {host.state}' for host in self.hosts.values())}>"
