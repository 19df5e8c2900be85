"""What strangers can make a peer do: little, and nothing that lasts."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.testing.worlds import FakeWorld, Listener
from tests.wire.samples import SAMPLES
from zmqtasks import peer
from zmqtasks.errors import BindError, RemoteProtocolError
from zmqtasks.machines.session import Closed
from zmqtasks.messages import Address, Hello, Message, PeerState, Role, SessionId, Status
from zmqtasks.options import Limits
from zmqtasks.peer import MOST_REJECTIONS, Guest, Peer, Report
from zmqtasks.records import replace
from zmqtasks.sink import Sink
from zmqtasks.testing.network import SimInbox
from zmqtasks.wire import codec

STATUS = SAMPLES["status"]
HELLO = SAMPLES["hello"]
assert isinstance(STATUS, Status)
assert isinstance(HELLO, Hello)


class Silent:
    """A recorder that is never asked."""

    def record(self, *_: object) -> None:
        raise AssertionError


class Strangers:
    """A sink, and a place that writes to it as anybody."""

    def __init__(self) -> None:
        self.world = FakeWorld(encoded=True)
        self.stranger = Listener(self.world.join("stranger"))
        self.peer = Peer(self.world.loop, self.world.join("sink"), 1, random.Random(1).random)
        self.sink = Sink(self.peer, Silent())

    def receive(self, message: Message) -> bool:
        return self.peer._receive(message)

    def close(self) -> None:
        self.sink.close()
        self.peer.close()
        self.world.close()


class Host:
    """A role that notes who comes and goes."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def guest_joined(self, guest: Guest, *, again: bool) -> None:
        self.seen.append(f"{guest.machine.session.number} joined{' again' if again else ''}")

    def guest_left(self, guest: Guest, closed: Closed) -> None:
        self.seen.append(f"{guest.machine.session.number} left")

    def guest_delivered(self, guest: Guest, message: object) -> None:
        raise AssertionError

    def report(self, guest: Guest, *, full: bool) -> Report:
        return Report()


@pytest.fixture
def strangers() -> Iterator[Strangers]:
    strangers = Strangers()
    yield strangers
    strangers.close()


def test_an_address_without_an_endpoint_is_malformed() -> None:
    """There is no way to answer it: whoever tried would fail."""
    for message in (HELLO, STATUS):
        frame = codec.encode(replace(message, address=message.address._replace(endpoints=())))
        with pytest.raises(RemoteProtocolError, match=r"address\.endpoints: expected one endpoint at least"):
            codec.decode(frame, Limits())


def test_frames_of_no_session_are_said_to_be_unwanted(strangers: Strangers) -> None:
    for name in ("tasks", "results", "stored", "cancel", "query", "output"):
        assert not strangers.receive(SAMPLES[name]), name
    assert not strangers.receive(replace(STATUS, session=SessionId(1, 77)))
    assert not strangers.peer.guests


def test_a_session_that_is_opened_is_wanted_and_so_is_its_echo(strangers: Strangers) -> None:
    address = strangers.world.address("stranger")
    hello = replace(HELLO, address=address, role=Role.NODE, session=SessionId(9, 2), memory=None)
    assert not strangers.receive(hello), "a new session is opened at the cost of patience"
    assert list(strangers.peer.guests) == ["stranger"]
    assert strangers.receive(hello)
    assert not strangers.receive(replace(hello, session=SessionId(9, 1)))
    assert strangers.receive(replace(STATUS, session=hello.session, state=PeerState.UP))
    assert not strangers.receive(replace(hello, session=SessionId(10, 1), role=Role.SINK))


def test_rejections_are_few_however_many_ask_for_one(strangers: Strangers) -> None:
    address = strangers.world.address("stranger")
    for number in range(10 * MOST_REJECTIONS):
        assert not strangers.receive(replace(STATUS, session=SessionId(5, number), address=address))
    strangers.world.loop.advance(2.0)
    heard = [message for message in strangers.stranger.heard if isinstance(message, Status)]
    assert len(heard) == MOST_REJECTIONS
    assert not strangers.receive(replace(STATUS, session=SessionId(6, 1), address=address))
    strangers.world.loop.advance(2.0)
    assert len(strangers.stranger.heard) == MOST_REJECTIONS + 1


def test_a_session_that_nobody_keeps_up_is_over_soon(strangers: Strangers) -> None:
    for number in range(100):
        address = strangers.world.address("stranger")._replace(peer=f"peer-{number}", host=f"host-{number}")
        hello = replace(HELLO, address=address, role=Role.NODE, session=SessionId(9, number), memory=None)
        strangers.receive(hello)
    assert len(strangers.peer.guests) == 100
    strangers.receive(replace(STATUS, session=SessionId(9, 50), state=PeerState.UP))
    strangers.world.loop.advance(11.0)
    assert list(strangers.peer.guests) == ["peer-50"]
    strangers.world.loop.advance(60.0)
    assert not strangers.peer.guests


def test_incarnations_that_are_over_are_remembered_but_not_all(
    strangers: Strangers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "MOST_RETIRED", 5)
    address = strangers.world.address("stranger")
    for epoch in range(10):
        strangers.receive(replace(HELLO, address=address, role=Role.NODE, session=SessionId(epoch, 1), memory=None))
    assert len(strangers.peer._retired) == 5
    assert not strangers.receive(replace(HELLO, address=address, role=Role.NODE, session=SessionId(8, 2)))
    assert strangers.peer.guests["stranger"].machine.session.epoch == 9


def test_who_cannot_be_answered_fills_no_log(strangers: Strangers, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = Address("x" * 16, "there", ("nowhere://",))
    for number in range(100):
        hello = replace(HELLO, address=nowhere, role=Role.NODE, session=SessionId(7, number), memory=None)
        assert not strangers.receive(hello)
    assert len(caplog.records) == 1
    with pytest.raises(BindError):
        strangers.peer.network.reach(nowhere)


def test_a_session_that_is_replaced_while_its_own_timer_reads_the_inbox_says_no_more(strangers: Strangers) -> None:
    """As after a stall: what came meanwhile is read by whichever timer is due first."""
    world, host = strangers.world, Host()
    strangers.peer.host(Role.OBSERVER, host)
    hello = replace(
        HELLO, address=world.address("stranger"), role=Role.OBSERVER, session=SessionId(9, 1), memory=None, lease_s=5.0
    )
    wire = strangers.stranger.network.reach(strangers.peer.address)
    wire.send_control(hello)
    world.until(lambda: host.seen)
    inbox = strangers.peer.network
    assert isinstance(inbox, SimInbox)
    inbox.stopped = True  # its timers go on, and find nothing
    wire.send_control(replace(hello, session=SessionId(9, 2)))
    world.loop.advance(4.8)
    inbox.stopped = False
    world.loop.advance(1.0)
    assert host.seen == ["1 joined", "2 joined again"]
    wire.close()


def visitor(strangers: Strangers, number: int, peer: str, role: Role = Role.NODE, host: str = "there") -> Hello:
    address = Address(peer, host, ("sim://stranger",))
    return replace(HELLO, address=address, role=role, session=SessionId(number, 1), memory=None)


def test_a_node_at_the_address_of_another_one_has_taken_its_place(strangers: Strangers) -> None:
    """A node that was started again is another peer: nobody else would say that the one before has died."""
    host = Host()
    strangers.peer.host(Role.NODE, host)
    strangers.peer.host(Role.VENTILATOR, host)
    for number in range(1, 4):
        strangers.receive(visitor(strangers, number, f"node-{number}"))
    assert list(strangers.peer.guests) == ["node-3"]
    assert host.seen == ["1 joined", "1 left", "1 joined", "1 left", "1 joined"]
    strangers.receive(visitor(strangers, 4, "node-4", host="elsewhere"))
    strangers.receive(visitor(strangers, 5, "ventilator", Role.VENTILATOR))
    strangers.receive(visitor(strangers, 6, "later ventilator", Role.VENTILATOR))
    assert list(strangers.peer.guests) == ["node-3", "node-4", "ventilator", "later ventilator"]
