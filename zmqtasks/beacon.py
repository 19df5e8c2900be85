"""A beacon on the local network: nodes that were told so announce where they are, and who wants to know listens.

    zmqtasks1 NAME ENDPOINT        one datagram a second to a multicast group, which no router passes on

Off unless it is asked for. It says nothing secret, and proves nothing: what is heard is an address like any other, and
whoever is there has to prove the key of the mesh. Owns the sockets. Called by `seeds.py` and the command `worker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
import time
from collections.abc import Callable, Sequence

from zmqtasks import doors
from zmqtasks.machines.beacons import Beacons

GROUP, PORT = "239.255.77.1", 7799
NAME = "zmqtasks"
EACH_S = 1.0
MOST_BYTES = 512
_SAID = re.compile(rb"zmqtasks1 (?P<name>[\w.-]{1,64}) (?P<endpoint>tcp://\S{1,255})")


class Announcer:
    """Announce endpoints each second, from the loop, until it is closed.

    Args:
        name: of the mesh; who listens for another one does not hear it.
        endpoints: what others connect to; only those with tcp are said.
    """

    def __init__(self, name: str, endpoints: Sequence[str]) -> None:
        self._name = name
        self._endpoints = [endpoint for endpoint in endpoints if endpoint.startswith("tcp://")]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._timer: asyncio.TimerHandle | None = None
        self._announce()

    def _announce(self) -> None:
        for endpoint in self._endpoints:
            with contextlib.suppress(OSError):  # the network is down, or has no room: the next one comes
                host = doors.host_of(endpoint)
                if re.fullmatch(r"[0-9.]+", host):  # on the network where it can be reached
                    own = socket.inet_aton(host)
                    self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
                self._socket.sendto(f"zmqtasks1 {self._name} {endpoint}".encode(), (GROUP, PORT))
        pause_s = EACH_S * (0.9 + 0.2 * random.random())
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._announce)

    def close(self) -> None:
        """Announce nothing more; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()


def listener() -> socket.socket:
    """Return a socket that hears what is announced on any network of this host.

    Raises:
        OSError: there can be none.
    """
    hearing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        hearing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hearing.bind((GROUP, PORT))
        for index, _ in socket.if_nameindex():
            with contextlib.suppress(OSError):  # one that is down, say
                member = struct.pack("4s4si", socket.inet_aton(GROUP), bytes(4), index)
                hearing.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    except OSError:
        hearing.close()
        raise
    return hearing


def heard(datagram: bytes, name: str) -> str:
    """Return the endpoint that a datagram announces for a mesh, or nothing."""
    said = _SAID.fullmatch(datagram)
    if said is None or said["name"].decode() != name:
        return ""
    endpoint = said["endpoint"].decode(errors="replace")
    return endpoint if doors.ENDPOINT.fullmatch(endpoint) else ""


def hear_some(name: str, patience_s: float) -> tuple[str, ...]:
    """Wait until some node of a mesh is heard; return what was heard by then.

    Raises:
        OSError: there can be no socket.
    """
    deadline = time.monotonic() + patience_s
    with listener() as hearing:
        while (left_s := deadline - time.monotonic()) > 0:
            hearing.settimeout(left_s)
            try:
                endpoint = heard(hearing.recv(MOST_BYTES), name)
            except TimeoutError:
                break
            if endpoint:
                return (endpoint,)
    return ()


async def listen(name: str, on_listed: Callable[[Sequence[str]], object]) -> None:
    """Tell of the nodes of a mesh that announce themselves, at each change, until it is cancelled.

    Raises:
        OSError: there can be no socket.
    """
    loop, beacons = asyncio.get_running_loop(), Beacons()
    with listener() as hearing:
        hearing.setblocking(False)
        while True:
            changed = beacons.forget(loop.time())
            with contextlib.suppress(TimeoutError):
                datagram = await asyncio.wait_for(loop.sock_recv(hearing, MOST_BYTES), EACH_S)
                if endpoint := heard(datagram, name):
                    changed |= beacons.hear(endpoint, loop.time())
            if changed:
                on_listed(beacons.endpoints())
