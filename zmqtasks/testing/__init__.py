"""Public fakes for tests: a clock, a network, workers, and a mesh of real nodes on this machine.

    import zmqtasks.testing

    with zmqtasks.testing.local_mesh(nodes=2, workers=1) as addresses, zmqtasks.Client(*addresses) as client:
        assert list(client.map(abs, [-1, -2])) == [1, 2]

Names are loaded when they are first used. See docs/testing.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zmqtasks.testing.clock import FakeClock as FakeClock
    from zmqtasks.testing.clock import PeerClock as PeerClock
    from zmqtasks.testing.connections import Conditions as Conditions
    from zmqtasks.testing.journal import MemoryJournal as MemoryJournal
    from zmqtasks.testing.journal import Pages as Pages
    from zmqtasks.testing.mesh import local_mesh as local_mesh
    from zmqtasks.testing.network import SimNetwork as SimNetwork
    from zmqtasks.testing.stretches import Fate as Fate
    from zmqtasks.testing.workers import Executed as Executed
    from zmqtasks.testing.workers import SimWorkers as SimWorkers

_HOMES = {
    "Conditions": "connections",
    "Executed": "workers",
    "FakeClock": "clock",
    "Fate": "stretches",
    "PeerClock": "clock",
    "MemoryJournal": "journal",
    "Pages": "journal",
    "SimNetwork": "network",
    "SimWorkers": "workers",
    "local_mesh": "mesh",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zmqtasks.testing' has no attribute {name!r}")
    value = getattr(import_module(f"zmqtasks.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
