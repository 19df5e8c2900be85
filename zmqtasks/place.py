"""Where a program's inbox is, and the peer behind it.

Owns the making of a peer: its id, its epoch and its sockets are new each time. Called by `embedded` and `serving.py`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zmqtasks.messages import PeerId
from zmqtasks.peer import Peer
from zmqtasks.processes.usage import host_id
from zmqtasks.records import Value
from zmqtasks.transport.keyring import Keyring
from zmqtasks.transport.keys import read_pair
from zmqtasks.transport.network import ZmqNetwork

if TYPE_CHECKING:
    import asyncio


class Place(Value):
    """Where an inbox is: bound endpoints, advertised ones, a private folder for a Unix socket, the file of a key.

    `tunnels` is a folder with sockets that lead to peers elsewhere.
    """

    bind: tuple[str, ...] = ()
    advertise: tuple[str, ...] = ()
    folder: Path | None = None
    key: str | None = None
    tunnels: Path | None = None


def open_peer(
    loop: asyncio.AbstractEventLoop,
    place: Place,
    *,
    lease_s: float | None = None,
    peer_id: PeerId | None = None,
    on_refused: Callable[[str, str, bool], None] = lambda endpoint, why, certain: None,
) -> Peer:
    """Return a peer with its inbox bound.

    Args:
        loop: everything runs in its thread.
        place: where its inbox is.
        lease_s: how long others are asked to keep it while it is silent.
        peer_id: of one that has lived before; a new one if None.
        on_refused: told of the endpoint of a peer that does not let us in, why, and whether that is certain.

    Raises:
        BindError: an endpoint cannot be bound.
        KeyFileError: the key cannot be used.
    """
    keyring = None if place.key is None else Keyring(*read_pair(place.key))
    network = ZmqNetwork(
        loop,
        peer_id or os.urandom(8).hex(),
        host_id(),
        bind=place.bind,
        advertise=place.advertise,
        folder=place.folder,
        keyring=keyring,
        on_refused=on_refused,
        tunnels=place.tunnels,
    )
    return Peer(loop, network, int.from_bytes(os.urandom(8)) >> 1, random.random, lease_s=lease_s)
