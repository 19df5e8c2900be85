"""Network namespaces as hosts: each with an address of its own, all joined by a router whose rules are the faults.

    host 0 (10.214.0.2) ── router ── host 1 (10.214.1.2)
                             └────── host 2 (10.214.2.2)

Faults are made in the router, as on a real way between two hosts: a packet that the sender's own kernel drops is told
to its TCP, which then waits otherwise. Nothing leads out of here, and nothing is made in the namespace of the caller.
What a run that was killed has left is removed at the next start: names carry the pid. Needs root, iproute2, nftables.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

TOOLS = ("ip", "nft", "tc", "nsenter")
PREFIX = "zmqtasks"
MOST = 16
"""Hosts of one network."""
COMMAND_S = 30.0


def missing() -> str:
    """Return why there can be no hosts here, or nothing."""
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(absent)} not installed; on Debian: apt install iproute2 nftables util-linux"
    if os.geteuid() != 0:
        return "network namespaces are made by root only"
    name = f"{PREFIX}-{os.getpid()}-probe"
    if (made := subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)).returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    try:
        probe = f"add table inet {PREFIX}"
        allowed = subprocess.run(_inside(name, "nft", probe), capture_output=True, text=True, check=False)
        return f"nft does not work here: {allowed.stderr.strip()}" if allowed.returncode else ""
    finally:
        _remove(name)


def clean_up() -> list[str]:
    """Remove the namespaces of runs that are no more, with what still runs in them; return their names."""
    stale = []
    for path in Path("/run/netns").glob(f"{PREFIX}-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            stale.append(path.name)
            _remove(path.name)
    return stale


class Host:
    """One namespace with an address."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.address = f"10.214.{number}.2"

    def command(self, *command: str) -> list[str]:
        """Return what runs `command` on this host; the process that is started becomes it."""
        return _inside(self.name, *command)

    def __repr__(self) -> str:
        return f"<Host {self.number} {self.address}>"


class Hosts:
    """Some hosts and the router between them; a context manager.

    Args:
        count: of hosts, 1 to 16.
    """

    def __init__(self, count: int) -> None:
        if not 1 <= count <= MOST:
            raise ValueError(f"1 to {MOST} hosts, not {count}")
        own = f"{PREFIX}-{os.getpid()}"
        self._router = f"{own}-router"
        self.hosts = [Host(f"{own}-{number}", number) for number in range(count)]
        self._rules: list[str] = []
        self._walls: list[str] = []
        """Rules that stay."""

    def __enter__(self) -> Self:
        clean_up()
        try:
            self._make()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _make(self) -> None:
        _ip(["netns add " + name for name in self._names()])
        _run(_inside(self._router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"))
        router = []
        for host in self.hosts:
            router += [
                f"link add to{host.number} type veth peer name eth0 netns {host.name}",
                f"addr add 10.214.{host.number}.1/30 dev to{host.number}",
                f"link set to{host.number} up",
            ]
        _ip(["link set lo up", *router], self._router)
        for host in self.hosts:
            gateway = f"10.214.{host.number}.1"
            own = ["link set lo up", f"addr add {host.address}/30 dev eth0", "link set eth0 up"]
            _ip([*own, f"route add default via {gateway}"], host.name)

    def _names(self) -> list[str]:
        return [self._router, *(host.name for host in self.hosts)]

    def _close(self) -> None:
        for name in self._names():
            _remove(name)

    # Faults; each is added to those there are, until `heal`

    def drop(self, source: Host, target: Host) -> None:
        """Let nothing pass one way."""
        self._add(source, target, "drop")

    def part(self, one: Host, other: Host) -> None:
        """Let nothing pass, either way."""
        self.drop(one, other)
        self.drop(other, one)

    def reset(self, one: Host, other: Host) -> None:
        """Answer each segment, either way, as if its connection did not exist."""
        for source, target in ((one, other), (other, one)):
            self._add(source, target, "meta l4proto tcp reject with tcp reset")

    def lose(self, one: Host, other: Host, percent: int) -> None:
        """Lose some packets, either way, at random."""
        for source, target in ((one, other), (other, one)):
            self._add(source, target, f"numgen random mod 100 < {percent} drop")

    def narrow(self, host: Host, mbit: int) -> None:
        """Let so many Mbit/s pass to a host and from it, with 50 ms of queue."""
        rate = ("tbf", "rate", f"{mbit}mbit", "burst", "32kb", "latency", "50ms")
        for name, device in ((self._router, f"to{host.number}"), (host.name, "eth0")):
            _run(["tc", "-n", name, "qdisc", "replace", "dev", device, "root", *rate])

    def wall(self, port: int) -> None:
        """Let nothing pass from now on but TCP to one port, whatever else is made and healed."""
        self._walls = [f"tcp dport {port} accept", f"tcp sport {port} accept", "drop"]
        self._apply()

    def heal(self) -> None:
        """Let everything pass again; a link that was narrowed stays so."""
        self._rules.clear()
        self._apply()

    def _add(self, source: Host, target: Host, verdict: str) -> None:
        self._rules.append(f"ip saddr {source.address} ip daddr {target.address} {verdict}")
        self._apply()

    def _apply(self) -> None:
        chain = "\n".join(["type filter hook forward priority 0;", *self._rules, *self._walls])
        table = f"table inet {PREFIX}"
        text = f"add {table}\ndelete {table}\n{table} {{\nchain faults {{\n{chain}\n}}\n}}\n"
        _run(_inside(self._router, "nft", "-f", "-"), text)


def _inside(name: str, *command: str) -> list[str]:
    # `ip netns exec` would mount /sys anew, without the cgroups.
    return ["nsenter", f"--net=/run/netns/{name}", *command]


def _ip(lines: list[str], name: str | None = None) -> None:
    _run(["ip", *(("-n", name) if name else ()), "-batch", "-"], "\n".join(lines) + "\n")


def _run(command: list[str], stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}\n{stdin}")
    return done.stdout


def _remove(name: str) -> None:
    """Remove a namespace, and end what runs in it: it was made for nothing else."""
    if not Path("/run/netns", name).exists():
        return
    pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
    for pid in pids.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
