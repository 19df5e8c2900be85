"""What peers rely on: the fakes and the real things pass the same tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.worlds import FakeWorld, Listener, RealWorld, World
from zmqtasks.errors import BindError
from zmqtasks.messages import Address, Cancel, Range, Results, SessionId

SESSION = SessionId(1, 1)


@pytest.fixture(params=["ipc", "unix", "fake", "fake-encoded"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    kind: str = request.param
    made: World = FakeWorld(encoded="encoded" in kind) if "fake" in kind else RealWorld(tmp_path, kind)
    yield made
    made.close()


def bulk(number: int) -> Results:
    return Results(SESSION, number)


def control(number: int) -> Cancel:
    return Cancel(SESSION, (Range("job", number, number + 1),))


# The network


def test_bulk_keeps_its_order_and_comes_once(world: World) -> None:
    target, source = Listener(world.join("b")), world.join("a")
    wire = source.reach(target.network.address)
    for number in range(1, 501):
        wire.send_bulk(bulk(number))
    world.until(lambda: len(target.heard) >= 500)
    world.pass_time()
    assert target.heard == [bulk(number) for number in range(1, 501)]
    wire.close()


def test_control_keeps_its_order(world: World) -> None:
    target, source = Listener(world.join("b")), world.join("a")
    wire = source.reach(target.network.address)
    wire.send_control(control(0))
    world.until(lambda: target.heard)
    for number in range(1, 100):
        wire.send_control(control(number))
    world.until(lambda: len(target.heard) == 100)
    assert target.heard == [control(number) for number in range(100)]
    wire.close()


def test_bulk_waits_for_a_peer_that_comes_later(world: World) -> None:
    source = world.join("a")
    wire = source.reach(world.address("b"))
    for number in range(1, 51):
        wire.send_bulk(bulk(number))
    world.pass_time()
    target = Listener(world.join("b"))
    world.until(lambda: len(target.heard) == 50)
    assert target.heard == [bulk(number) for number in range(1, 51)]
    wire.close()


def test_of_control_for_a_peer_that_comes_later_the_last_few_are_kept(world: World) -> None:
    source = world.join("a")
    wire = source.reach(world.address("b"))
    for number in range(100):
        wire.send_control(control(number))
    world.pass_time()
    target = Listener(world.join("b"))
    world.until(lambda: len(target.heard) == 16)
    world.pass_time()
    assert target.heard == [control(number) for number in range(84, 100)]
    wire.close()


def test_bulk_that_waits_can_be_forgotten(world: World) -> None:
    source = world.join("a")
    wire = source.reach(world.address("b"))
    wire.send_bulk(bulk(1))
    wire.forget_waiting()
    wire.send_bulk(bulk(2))
    target = Listener(world.join("b"))
    world.until(lambda: target.heard)
    assert target.heard == [bulk(2)]
    wire.close()


def test_many_can_reach_one(world: World) -> None:
    target = Listener(world.join("hub"))
    wires = [world.join(f"peer{number}").reach(target.network.address) for number in range(5)]
    for number, wire in enumerate(wires):
        wire.send_bulk(bulk(number + 1))
    world.until(lambda: len(target.heard) == 5)
    assert sorted(message.seq for message in target.heard if isinstance(message, Results)) == [1, 2, 3, 4, 5]
    for wire in wires:
        wire.close()


def test_a_goodbye_arrives_when_the_wire_lingers(world: World) -> None:
    target, source = Listener(world.join("b")), world.join("a")
    wire = source.reach(target.network.address)
    wire.send_control(control(1))
    world.until(lambda: target.heard)
    wire.send_control(control(2))
    wire.close(0.5)
    source.close()
    world.until(lambda: len(target.heard) == 2)


def test_what_is_sent_through_a_closed_wire_is_nobodys(world: World) -> None:
    target, source = Listener(world.join("b")), world.join("a")
    wire = source.reach(target.network.address)
    wire.send_bulk(bulk(1))
    wire.send_control(control(1))
    world.until(lambda: len(target.heard) == 2)
    wire.close()
    wire.send_bulk(bulk(2))
    wire.send_control(control(2))
    world.pass_time()
    assert len(target.heard) == 2


def test_closing_twice_does_no_harm(world: World) -> None:
    target, source = Listener(world.join("b")), world.join("a")
    wire = source.reach(target.network.address)
    wire.send_bulk(bulk(1))
    for _ in range(2):
        wire.close()
        source.close()


def test_a_closed_inbox_hears_nothing(world: World) -> None:
    target, source = Listener(world.join("b")), world.join("a")
    wire = source.reach(target.network.address)
    wire.send_bulk(bulk(1))
    world.until(lambda: target.heard)
    target.network.close()
    wire.send_bulk(bulk(2))
    world.pass_time()
    assert target.heard == [bulk(1)]
    wire.close()


def test_draining_by_hand_does_no_harm(world: World) -> None:
    target = Listener(world.join("b"))
    target.network.drain()
    assert not target.heard


def test_a_malformed_address_is_refused(world: World) -> None:
    with pytest.raises(BindError, match="malformed"):
        world.join("a").reach(Address("b", "elsewhere", ("nonsense",)))


def test_no_way_is_better_than_the_one_that_is_best(world: World) -> None:
    target, source = world.join("b"), world.join("a")
    wire = source.reach(target.address)
    assert not source.prefers(target.address, wire.endpoint)
    wire.close()


# The loop


def test_calls_are_made_in_the_order_of_their_times(world: World) -> None:
    called: list[str] = []
    now = world.loop.time()
    world.loop.call_at(now + 0.02, called.append, "late")
    world.loop.call_at(now + 0.01, called.append, "early")
    world.loop.call_soon(called.append, "at once")
    world.loop.call_soon(called.append, "next")
    world.until(lambda: len(called) == 4)
    assert called == ["at once", "next", "early", "late"]
    assert world.loop.time() >= now + 0.02


def test_a_cancelled_call_is_not_made(world: World) -> None:
    called: list[str] = []
    now = world.loop.time()
    timer = world.loop.call_at(now + 0.001, called.append, "cancelled")
    world.loop.call_at(now + 0.002, called.append, "kept")
    timer.cancel()
    timer.cancel()
    world.until(lambda: called)
    assert called == ["kept"]


def test_what_is_past_is_due_now(world: World) -> None:
    called: list[str] = []
    world.loop.call_at(world.loop.time() - 5.0, called.append, "at last")
    world.until(lambda: called)
