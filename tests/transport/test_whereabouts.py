"""Names of peers: their addresses of both families, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.cli.programs import environment, program, run
from tests.waiting import wait_until_async
from zmqtasks import doors
from zmqtasks.transport import whereabouts
from zmqtasks.transport.push import PushLane
from zmqtasks.transport.whereabouts import Whereabouts, addresses_of


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6 loopback")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "PAUSE_S", 0.01)
    monkeypatch.setattr(whereabouts, "AGAIN_S", 0.01)


@contextlib.contextmanager
def bound(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    with context.socket(zmq.PULL) as pull:
        pull.linger = 0
        pull.setsockopt(zmq.IPV6, int("[" in endpoint))
        pull.bind(endpoint)
        yield pull


async def hears(lane: PushLane, pull: zmq.Socket[bytes], word: bytes) -> None:
    """Wait until what the lane sends arrives there; what was on its way to another address is lost."""

    def said() -> bool:
        lane.offer(word)
        return bool(pull.poll(0)) and pull.recv() == word

    await wait_until_async(said)


@needs_ipv6
@pytest.mark.usefixtures("soon")
def test_a_name_leads_to_whichever_of_its_addresses_somebody_is_at() -> None:
    """First to the second one, of the other family; then to the first, and after that to one it has only since."""
    names = [("127.0.0.1", "::1")]

    async def story(context: zmq.Context[zmq.Socket[bytes]]) -> None:
        with bound(context, "tcp://[::1]:*") as pull:
            port = doors.port_of(pull.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
            where = Whereabouts(asyncio.get_running_loop(), f"tcp://nodes.lan:{port}", lambda name: names[0])
            leader, other = (PushLane(where, context, None, None) for _ in range(2))
            await hears(leader, pull, b"one")
            await hears(other, pull, b"two")
        with bound(context, f"tcp://127.0.0.1:{port}") as pull:
            await hears(leader, pull, b"three")
            await hears(other, pull, b"four")
        names[0] = ("127.0.0.2",)
        with bound(context, f"tcp://127.0.0.2:{port}") as pull:
            await hears(leader, pull, b"five")
            await hears(other, pull, b"six")
        for lane in (leader, other):
            lane.close(0.0)

    with zmq.Context() as context:
        asyncio.run(story(context))


@pytest.mark.usefixtures("soon")
def test_a_name_that_nobody_has_is_told_once_and_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def resolve(name: str) -> tuple[str, ...]:
        asked.append(name)
        if len(asked) < 4:
            raise OSError("no such name")
        return ("10.0.0.7",)

    async def story() -> None:
        moves: list[str] = []
        where = Whereabouts(asyncio.get_running_loop(), "tcp://nodes.lan:7700", resolve)
        assert where.follow(moves.append)
        await wait_until_async(lambda: moves)
        assert moves == ["tcp://10.0.0.7:7700"]
        assert asked == ["nodes.lan"] * 4

    asyncio.run(story())
    assert caplog.messages == ["tcp://nodes.lan:7700: no such name"]


def test_what_is_no_name_is_known_at_once() -> None:
    loop = asyncio.new_event_loop()
    for endpoint in ("tcp://[::1]:7700", "tcp://10.0.0.7:7700", "tcp://nodes.lan:0", "tcp://malformed"):
        moves: list[str] = []
        assert not Whereabouts(loop, endpoint).follow(moves.append)
        assert moves == [endpoint]
    loop.close()
    with pytest.raises(OSError, match="is no name of a host"):
        addresses_of("a..b")


PROGRAM = """
import sys, zmqtasks
with zmqtasks.Client("tcp://" + sys.argv[1], key=sys.argv[2]) as client:
    print(client.submit(pow, 2, 3).result(30))
"""


def knowing(hosts: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Python where /etc/hosts is another file; nobody else sees it."""
    inner = 'mount --bind "$0" /etc/hosts && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", inner, str(hosts), sys.executable, *args]
    return subprocess.run(
        words, capture_output=True, text=True, env=environment(), cwd=hosts.parent, timeout=60, check=False
    )


@needs_ipv6
@pytest.mark.parametrize("addresses", [("::1",), ("127.0.0.1", "::1")], ids=["one", "both"])
def test_client_and_commands_find_a_node_by_a_name_that_leads_to_it_over_ipv6(
    tmp_path: Path, addresses: tuple[str, ...]
) -> None:
    """The node listens at ::1 alone, and the name has that address alone, or one of the other family before it."""
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"{address} name6\n" for address in addresses))
    if knowing(hosts, "-c", "").returncode:
        pytest.skip("not root, or no unshare: there can be no other /etc/hosts")
    key = str(tmp_path / "mesh.key")
    assert run(tmp_path, "keygen", key).returncode == 0
    with program(tmp_path, "worker", "worker", "--bind", "[::1]:0", "--workers", "1", "--key", key) as node:
        name = f"name6:{node.address.rpartition(':')[2]}"
        asked = knowing(hosts, "-m", "zmqtasks", "status", "--node", name, "--key", key, "--timeout", "20")
        assert asked.returncode == 0, asked
        computed = knowing(hosts, "-c", PROGRAM, name, key)
        assert computed.stdout == "8\n", computed
