"""Faults of the network in memory: what is lost, what waits, and that nothing is reordered or doubled."""

from __future__ import annotations

import random

import pytest

from tests.testing.worlds import Listener
from zmqtasks.errors import BindError
from zmqtasks.messages import Results, SessionId, Tasks
from zmqtasks.testing import Conditions, FakeClock, SimNetwork
from zmqtasks.transport.network import Wire


def bulk(number: int) -> Results:
    return Results(SessionId(1, 1), number)


class Pair:
    """Places a and b, and a connection from one to the other that stands."""

    def __init__(self, seed: int = 1, conditions: Conditions | None = None) -> None:
        self.clock = FakeClock()
        self.network = SimNetwork(self.clock, random.Random(seed), conditions or Conditions(jitter_s=0.01))
        self.source = self.network.join("a", "a", self.clock)
        self.target = self.join_target()
        self.wire: Wire = self.source.reach(self.target.network.address)
        self.clock.advance(0.5)

    def join_target(self) -> Listener:
        return Listener(self.network.join("b", "b", self.clock))

    def send(self, first: int, last: int) -> None:
        """Send so many, one each millisecond."""
        for number in range(first, last + 1):
            self.clock.call_later((number - first) / 1000, self.wire.send_bulk, bulk(number))

    @property
    def heard(self) -> list[int]:
        return [message.seq for message in self.target.heard if isinstance(message, Results | Tasks)]


@pytest.mark.parametrize("seed", range(20))
def test_a_reset_loses_one_contiguous_run(seed: int) -> None:
    pair = Pair(seed)
    pair.send(1, 200)
    pair.clock.advance(0.1)
    pair.network.reset("a", "b")
    pair.clock.advance(5.0)
    assert pair.heard == sorted(set(pair.heard))
    gaps = [b - a for a, b in zip(pair.heard, pair.heard[1:], strict=False) if b - a > 1]
    assert len(gaps) <= 1
    assert pair.heard[-1] == 200


def test_a_reset_while_nothing_is_under_way_loses_nothing() -> None:
    pair = Pair()
    pair.network.reset("a", "b")
    pair.send(1, 50)
    pair.clock.advance(5.0)
    assert pair.heard == list(range(1, 51))


@pytest.mark.parametrize("both_ways", [False, True])
def test_a_partition_that_heals_loses_nothing(both_ways: bool) -> None:
    pair = Pair()
    pair.wire.send_bulk(bulk(0))
    pair.clock.advance(0.5)
    pair.send(1, 100)
    pair.clock.advance(0.05)
    pair.network.partition("a", "b", both_ways=both_ways)
    pair.clock.advance(1.9)
    assert len(pair.heard) < 100
    pair.network.heal("a", "b")
    pair.clock.advance(1.0)
    assert pair.heard == list(range(101))


@pytest.mark.parametrize("both_ways", [True, False])
def test_a_partition_that_takes_longer_than_tcp_waits_loses_what_was_under_way(both_ways: bool) -> None:
    pair = Pair()
    pair.wire.send_bulk(bulk(0))
    pair.clock.advance(0.5)
    pair.network.partition("a", "b", both_ways=both_ways)
    pair.send(1, 9)
    pair.clock.advance(2.5)
    pair.send(10, 19)
    pair.clock.advance(2.5)
    assert pair.heard == [0]
    assert pair.network.heal("a", "b")
    pair.clock.advance(1.5)
    assert pair.heard == [0, *range(10, 20)], "what was sent later waited for a new connection"


def test_a_connection_whose_answers_do_not_come_back_is_given_up_though_all_has_arrived() -> None:
    pair = Pair()
    pair.wire.send_bulk(bulk(0))
    pair.clock.advance(0.5)
    pair.network.partition("b", "a", both_ways=False)
    pair.send(1, 9)
    pair.clock.advance(2.5)
    pair.send(10, 19)
    pair.clock.advance(2.5)
    assert pair.heard == list(range(10))
    pair.network.heal("a", "b")
    pair.clock.advance(1.5)
    assert pair.heard == list(range(20))


def test_the_other_way_of_a_one_way_partition_stays_open() -> None:
    pair = Pair()
    pair.wire.send_bulk(bulk(1))
    pair.clock.advance(0.5)
    pair.network.partition("b", "a", both_ways=False)
    pair.send(2, 10)
    pair.clock.advance(1.0)
    assert pair.heard == list(range(1, 11))


def test_no_connection_is_made_across_a_partition() -> None:
    pair = Pair()
    pair.network.partition("b", "a", both_ways=False)
    pair.network.reset("a", "b")
    pair.send(1, 10)
    pair.clock.advance(3.0)
    assert not pair.heard
    pair.network.heal("a", "b")
    pair.clock.advance(6.0)
    assert pair.heard == list(range(1, 11))


def test_what_is_under_way_to_a_killed_peer_vanishes_and_what_waits_goes_to_its_successor() -> None:
    pair = Pair()
    pair.wire.send_bulk(bulk(1))
    pair.network.kill("b")
    pair.wire.send_bulk(bulk(2))
    pair.clock.advance(1.0)
    first = pair.target
    pair.target = pair.join_target()
    pair.clock.advance(6.0)
    assert not first.heard
    assert pair.heard[-1] == 2


def test_nobody_is_told_of_a_host_that_vanishes() -> None:
    pair = Pair()
    pair.wire.send_bulk(bulk(1))
    pair.clock.advance(0.5)
    pair.network.kill("b", silently=True)
    pair.send(2, 10)
    pair.clock.advance(1.0)
    pair.target = pair.join_target()
    pair.send(11, 20)
    pair.clock.advance(6.0)
    assert pair.heard == list(range(11, 21))


def test_a_stopped_process_reads_when_it_goes_on() -> None:
    pair = Pair()
    pair.network.stop("b")
    pair.wire.send_bulk(bulk(1))
    pair.clock.advance(3.0)
    pair.target.network.drain()
    assert not pair.heard
    pair.network.resume("b", lag_s=0.5)
    pair.clock.advance(0.4)
    assert not pair.heard
    pair.clock.advance(6.0)
    assert pair.heard == [1]


def test_bandwidth_delays() -> None:
    pair = Pair(conditions=Conditions(bytes_per_s=1000.0, encoded=True))
    pair.wire.send_bulk(bulk(1))
    pair.clock.advance(1.0)
    for number in range(2, 102):
        pair.wire.send_bulk(bulk(number))
    pair.clock.advance(1.0)
    assert 10 < len(pair.heard) < 50


def test_a_place_has_one_inbox() -> None:
    pair = Pair()
    with pytest.raises(BindError, match="in use"):
        pair.network.join("b", "other", pair.clock)
    pair.target.network.close()
    pair.join_target()


def test_the_story_tells_each_message_and_each_loss() -> None:
    story: list[str] = []
    clock = FakeClock()
    network = SimNetwork(clock, random.Random(1), story=story.append)
    target = Listener(network.join("b", "b", clock))
    wire = network.join("a", "a", clock).reach(target.network.address)
    wire.send_bulk(bulk(1))
    clock.advance(1.0)
    wire.send_bulk(bulk(2))
    network.kill("b")
    told = "\n".join(story)
    assert "a > b Results #1 seq=1" in told
    assert "  < b Results #1 seq=1" in told
    assert "kill b" in told
    assert "1 message(s) from a to b are lost" in told
