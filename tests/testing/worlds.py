"""Two worlds with one face: peers on ZeroMQ and an asyncio loop, and peers on the fakes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.waiting import wait_until_async
from zmqtasks.messages import Address, Message, PeerId
from zmqtasks.peer import Loop
from zmqtasks.testing import Conditions, FakeClock, SimNetwork
from zmqtasks.transport.network import Network, ZmqNetwork


class World(Protocol):
    """A loop, and a network that peers can join."""

    @property
    def loop(self) -> Loop:
        """Return what calls back."""

    def join(self, place: str) -> Network:
        """Bind an inbox at a place."""

    def address(self, place: str) -> Address:
        """Return where a peer that is not there yet will be."""

    def until(self, condition: Callable[[], object]) -> None:
        """Let time pass until the condition holds."""

    def pass_time(self) -> None:
        """Let a moment pass."""

    def close(self) -> None:
        """End it."""


class RealWorld:
    """Peers on this host, through Unix sockets or through ZeroMQ."""

    def __init__(self, folder: Path, scheme: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._folder = folder
        self._scheme = scheme
        self._networks: list[ZmqNetwork] = []

    def join(self, place: str) -> ZmqNetwork:
        if self._scheme == "unix":
            network = ZmqNetwork(self.loop, place, "here", folder=self._folder)
        else:
            network = ZmqNetwork(self.loop, place, "here", bind=self.address(place).endpoints)
        self._networks.append(network)
        return network

    def address(self, place: PeerId) -> Address:
        return Address(place, "here", (f"{self._scheme}://{self._folder}/{place}",))

    def until(self, condition: Callable[[], object]) -> None:
        self.loop.run_until_complete(wait_until_async(condition))

    def pass_time(self) -> None:
        for _ in range(50):
            self.loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        for network in self._networks:
            network.close()
        self.loop.close()


class FakeWorld:
    """A fake clock and a fake network, over which messages pass encoded, or as they are."""

    def __init__(self, *, encoded: bool) -> None:
        self.loop = FakeClock()
        self._network = SimNetwork(self.loop, random.Random(7), Conditions(jitter_s=0.01, encoded=encoded))

    def join(self, place: str) -> Network:
        return self._network.join(place, place, self.loop, host="here")

    def address(self, place: PeerId) -> Address:
        return Address(place, "here", (f"sim://{place}",))

    def until(self, condition: Callable[[], object]) -> None:
        self.loop.run_until(condition)

    def pass_time(self) -> None:
        self.loop.advance(0.05)

    def close(self) -> None:
        self.loop.advance(1.0)
        assert not self._network.under_way()


class Listener:
    """A peer that only listens, and what it has heard."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.heard: list[Message] = []
        network.listen(lambda message, sender: self.heard.append(message))
