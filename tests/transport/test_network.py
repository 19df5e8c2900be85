"""Which way leads to a peer."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from zmqtasks import doors
from zmqtasks.errors import BindError
from zmqtasks.messages import Address
from zmqtasks.transport.network import ZmqNetwork


def test_of_a_range_of_ports_the_first_that_is_free_is_taken() -> None:
    loop = asyncio.new_event_loop()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ranged = (f"tcp://127.0.0.1:{port}-{min(port + 20, 65535)}",)
        network = ZmqNetwork(loop, "a" * 16, "here", bind=ranged)
        assert port < doors.port_of(network.address.endpoints[0]) <= port + 20
        network.close()
        with pytest.raises(BindError, match=f"cannot bind tcp://127.0.0.1:{port}-{port}: the address is in use"):
            ZmqNetwork(loop, "a" * 16, "here", bind=(f"tcp://127.0.0.1:{port}-{port}",))
    loop.close()


TCP = "tcp://127.0.0.1:9"


def test_a_unix_socket_is_taken_only_where_somebody_listens(tmp_path: Path) -> None:
    """A peer that was killed leaves its socket; the one that replaces it is reached over tcp."""
    loop = asyncio.new_event_loop()
    network = ZmqNetwork(loop, "a" * 16, "here")
    path = tmp_path / "peer"
    address = Address("b" * 16, "here", (TCP, f"unix://{path}"))
    with socket.socket(socket.AF_UNIX) as listener:
        assert not network.prefers(address, TCP)
        listener.bind(str(path))
        listener.listen()
        assert network.prefers(address, TCP)
        assert not network.prefers(address._replace(host="elsewhere"), TCP)
    assert path.exists()
    assert not network.prefers(address, TCP)
    assert not network.prefers(address._replace(endpoints=(TCP, "unix:///" + "x" * 200)), TCP)
    network.close()
    loop.close()
