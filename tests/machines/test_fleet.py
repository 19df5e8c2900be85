"""Fleet: hosts are started a few at a time, tried again ever later, and ended; told as histories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.machines.driving import RANDOM
from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.fleet import (
    LONGEST_PAUSE_S,
    TRIES,
    Command,
    Event,
    Fleet,
    HostBroken,
    HostEnded,
    HostLost,
    HostReady,
    HostsListed,
    HostState,
    StartHost,
    StopAsked,
    StopHost,
)


def states(fleet: Fleet) -> dict[str, str]:
    fleet.check()
    return {host.name: host.state.value for host in fleet.hosts.values()}


def started(*names: str) -> list[Command]:
    return [StartHost(name) for name in names]


def up(*names: str) -> Fleet:
    fleet = Fleet()
    fleet.handle(HostsListed(names), 0.0)
    for name in names:
        fleet.handle(HostReady(name), 1.0)
    return fleet


def test_only_some_are_on_their_way_at_once() -> None:
    fleet = Fleet(at_once=2)
    assert fleet.handle(HostsListed(("a", "b", "c")), 0.0) == started("a", "b")
    assert repr(fleet) == "<Fleet a starting, b starting, c waiting>"
    assert fleet.next_deadline() == float("inf"), "there is no room"
    assert fleet.handle(HostReady("b"), 1.0) == started("c")
    assert not fleet.is_settled()
    fleet.handle(HostReady("a"), 1.0)
    fleet.handle(HostReady("c"), 1.0)
    assert fleet.is_settled()
    assert not fleet.is_over()


def test_a_host_that_is_lost_is_tried_again_ever_later() -> None:
    fleet = up("a")
    assert fleet.handle(HostLost("a", "no route", 0.5), 10.0) == []
    assert fleet.hosts["a"].reason == "no route"
    assert fleet.next_deadline() == 11.0
    assert fleet.tick(10.9) == []
    assert fleet.tick(11.0) == started("a")
    fleet.handle(HostLost("a", "no route", 0.5), 12.0)
    assert fleet.next_deadline() == 14.0


def test_nobody_waits_for_a_host_that_is_lost_again_and_again() -> None:
    fleet, now = Fleet(), 0.0
    fleet.handle(HostsListed(("a",)), now)
    for _ in range(TRIES):
        assert not fleet.is_settled()
        fleet.handle(HostLost("a", "gone", 0.0), now)
        now = fleet.next_deadline()
        fleet.tick(now)
    assert fleet.is_settled()
    for _ in range(5000):  # a long run: the pause stays bounded
        fleet.handle(HostLost("a", "gone", 0.999), now)
        assert fleet.next_deadline() - now <= 1.5 * LONGEST_PAUSE_S
        now = fleet.next_deadline()
        fleet.tick(now)
    fleet.handle(HostReady("a"), now)
    assert fleet.hosts["a"].losses == 0
    assert fleet.hosts["a"].reason == ""


def test_who_cannot_work_or_has_ended_is_started_again_only_when_it_is_listed_again() -> None:
    fleet = Fleet()
    fleet.handle(HostsListed(("a", "b")), 0.0)
    fleet.handle(HostBroken("a", "no zmqtasks there"), 1.0)
    fleet.handle(HostEnded("b"), 1.0)
    assert states(fleet) == {"a": "broken", "b": "ended"}
    assert fleet.hosts["a"].reason == "no zmqtasks there"
    assert fleet.is_settled()
    assert fleet.is_over()
    assert fleet.handle(HostsListed(("a", "b")), 100.0) == started("a", "b")


def test_who_is_not_listed_any_more_is_ended_and_forgotten() -> None:
    fleet = up("a", "b", "c")
    fleet.handle(HostEnded("c"), 2.0)
    assert fleet.handle(HostsListed(("a",)), 3.0) == [StopHost("b")]
    assert states(fleet) == {"a": "up", "b": "stopping"}
    assert fleet.handle(HostEnded("b"), 4.0) == []
    fleet.handle(HostsListed(("a",)), 5.0)
    assert states(fleet) == {"a": "up"}


def test_who_is_stopped_ends_and_at_once_where_that_is_asked() -> None:
    fleet = up("a", "b")
    assert fleet.handle(StopAsked(("a", "nobody")), 2.0) == [StopHost("a")]
    assert not fleet.is_settled()
    assert fleet.handle(StopAsked(("a",)), 2.5) == [], "it is under way"
    assert fleet.handle(StopAsked(("a",), now=True), 3.0) == [StopHost("a", now=True)]
    assert fleet.handle(HostLost("a", "the way broke", 0.5), 4.0) == [], "it is not wanted"
    assert states(fleet) == {"a": "ended", "b": "up"}
    fleet.handle(HostLost("b", "gone", 0.5), 5.0)
    assert fleet.handle(StopAsked(("b",)), 5.1) == [], "nothing runs there"
    assert fleet.is_over()
    assert fleet.next_deadline() == float("inf")


def test_who_gets_ready_while_it_is_stopped_is_stopped_all_the_same() -> None:
    fleet = Fleet()
    fleet.handle(HostsListed(("a",)), 0.0)
    assert fleet.handle(StopAsked(("a",)), 1.0) == [StopHost("a")]
    fleet.handle(HostReady("a"), 1.1)
    assert states(fleet) == {"a": "stopping"}


@pytest.mark.parametrize("end", [HostEnded("a"), HostBroken("a", "it broke")])
def test_who_is_listed_again_while_it_ends_is_started_again(end: Event) -> None:
    fleet = up("a")
    fleet.handle(StopAsked(("a",)), 1.0)
    assert fleet.handle(HostsListed(("a",)), 2.0) == []
    assert fleet.handle(end, 3.0) == started("a")


def test_what_cannot_be_is_refused() -> None:
    fleet = up("a")
    for event in (HostReady("a"), HostReady("b"), HostEnded("b")):
        with pytest.raises(LocalProtocolError, match="is not for"):
            fleet.handle(event, 2.0)


MOVES = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["ready", "lost", "ended", "broken", "stop", "list"]))
)


@RANDOM
@given(MOVES)
def test_what_is_told_to_be_started_and_stopped_is_what_runs(moves: list[tuple[str, str]]) -> None:
    fleet, now, running = Fleet(at_once=2), 0.0, set()

    def carry_out(commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, StartHost):
                assert command.name not in running
                running.add(command.name)
            else:
                assert command.name in running

    carry_out(fleet.handle(HostsListed(("a", "b", "c")), now))
    for name, move in moves:
        now += 1.0
        host = fleet.hosts.get(name)
        if move == "list":
            carry_out(fleet.handle(HostsListed(("a", "b", "c")), now))
        elif move == "stop":
            carry_out(fleet.handle(StopAsked((name,)), now))
        elif host and name in running and (move != "ready" or host.state is HostState.STARTING):
            if move != "ready":
                running.discard(name)
            event = {
                "ready": HostReady(name),
                "lost": HostLost(name, "", 0.5),
                "ended": HostEnded(name),
                "broken": HostBroken(name, ""),
            }[move]
            carry_out(fleet.handle(event, now))
        carry_out(fleet.tick(now))
        fleet.check()
        started_there = {h.name for h in fleet.hosts.values() if h.state.value in ("starting", "up", "stopping")}
        assert started_there == running
