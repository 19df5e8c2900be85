"""A standalone sink: how much it lets nodes have on the way, and how it tells a ventilator of very much."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.testing.worlds import FakeWorld, Listener
from tests.wire.samples import SAMPLES
from zmqtasks.machines.collection import Record
from zmqtasks.machines.dispatch_moves import END_OF_ANSWER, UNKNOWN_ATTEMPT
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import (
    Hello,
    JobId,
    Outcome,
    OutcomeKind,
    Query,
    Results,
    Role,
    SessionId,
    Settled,
    Status,
    Stored,
)
from zmqtasks.options import MIB, Limits
from zmqtasks.peer import Guest, Peer
from zmqtasks.records import replace
from zmqtasks.sink import LEAST_WINDOW_BYTES, STORED_AT_ONCE, WINDOW_BYTES, Sink
from zmqtasks.ventilator.shell import Ventilator
from zmqtasks.ventilator.sink_session import OUTCOMES_AT_ONCE

AT_HAND = 3
HELLO = SAMPLES["hello"]
assert isinstance(HELLO, Hello)


class AtOnce:
    """A recorder that has stored everything at once."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.reads = 0
        self.trouble: OSError | None = None

    def read(self, job: JobId) -> tuple[RangeSet, dict[int, tuple[int, OutcomeKind]]]:
        """Return what is stored."""
        self.reads += 1
        if self.trouble:
            raise self.trouble
        mine = [r for r in self.records if r.outcome.job == job]
        ok = RangeSet((r.start, r.stop) for r in mine if r.outcome.kind is OutcomeKind.OK)
        failed = {r.start: (r.outcome.attempt, r.outcome.kind) for r in mine if r.outcome.kind is not OutcomeKind.OK}
        return ok, failed

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        self.records += records
        on_stored()


class Both:
    """A sink, and a ventilator that has no node."""

    def __init__(self) -> None:
        self.world = FakeWorld(encoded=True)
        self.told: list[Stored] = []
        self.given: list[Results] = []
        self.recorder = AtOnce()
        chance = random.Random(1).random
        self.sink_peer = Peer(self.world.loop, self.world.join("sink"), 1, chance)
        self.sink = Sink(self.sink_peer, self.recorder, read=self.recorder.read, jobs_at_hand=AT_HAND)
        self.peer = Peer(self.world.loop, self.world.join("ventilator"), 2, chance)

    def node(self) -> Guest:
        """Open a session with a node."""
        node = Listener(self.world.join("node"))
        address = node.network.address
        self.sink_peer._receive(replace(HELLO, address=address, role=Role.NODE, memory=None))
        return self.sink.guests[address.peer]

    def ventilate(self) -> Ventilator:
        ventilator = Ventilator(self.peer, self.world.address("sink"))
        self.world.loop.advance(1.0)
        return ventilator

    def until_up(self, ventilator: Ventilator) -> None:
        self.world.until(ventilator.sink_is_up)

    def close(self) -> None:
        self.sink.close()
        self.sink_peer.close()
        self.peer.close()
        self.world.loop.advance(1.0)
        self.world.close()


@pytest.fixture
def both() -> Iterator[Both]:
    both = Both()
    yield both
    both.close()


def test_the_windows_of_many_nodes_are_parts_of_one_bound(both: Both) -> None:
    nodes = [Listener(both.world.join(f"node-{n}")) for n in range(64)]
    windows = []
    for number, node in enumerate(nodes):
        hello = replace(
            HELLO, session=SessionId(number, 1), address=node.network.address, role=Role.NODE, memory=None, lease_s=60.0
        )
        both.sink_peer._receive(hello)
        both.world.loop.advance(0.1)
        said = [message for message in node.heard if isinstance(message, Status)]
        windows.append(said[-1].window.bytes)
    assert windows[:4] == [WINDOW_BYTES] * 4
    assert windows[7] == 32 * MIB
    assert windows[-1] == 4 * MIB
    assert windows[-1] > LEAST_WINDOW_BYTES
    both.world.loop.advance(120.0)


def test_what_is_known_of_a_resumed_job_is_told_in_messages_that_can_be_read(both: Both) -> None:
    failures = 2 * STORED_AT_ONCE + 5
    ventilator = both.ventilate()
    both.sink.resume("ventilator:9", RangeSet(), dict.fromkeys(range(failures), (1, OutcomeKind.ERROR)))
    (teller,) = both.sink._tellers.values()
    both.world.until(lambda: teller._link.is_up)
    both.sink.guest_delivered(both.sink.guests["ventilator"], Query(SessionId(2, 1), ("ventilator:9",)))
    both.world.until(teller._link.unacked)
    told = [len(message.settled) for message in teller._link.unacked() if isinstance(message, Stored)]
    assert told[:2] == [STORED_AT_ONCE] * 2
    assert len(told) == 3
    both.world.until(lambda: not teller._link.unacked())
    ventilator.close()


def test_what_waited_for_a_sink_is_sent_in_messages_that_can_be_read(both: Both) -> None:
    ventilator = both.ventilate()
    sample = SAMPLES["results"]
    assert isinstance(sample, Results)
    failed = replace(sample.outcomes[1], kind=OutcomeKind.NODE_KILLER, body=b"x" * 1_000)
    assert ventilator._sink
    ventilator._sink.tell(replace(failed, start=n, stop=n + 1) for n in range(3 * OUTCOMES_AT_ONCE))
    sizes = [message.size_bytes for message in both.peer.links[ventilator._sink._link.machine.session].unacked()]
    assert max(sizes) < 2 * MIB < Limits().message_bytes
    both.world.until(ventilator.flushed)
    assert len(both.recorder.records) == 3 * OUTCOMES_AT_ONCE
    ventilator.close()


def results(job: JobId, start: int, stop: int, kind: OutcomeKind = OutcomeKind.OK) -> Results:
    return Results(SessionId(1, 1), 0, (Outcome(job, 1, "node", start, stop, kind, 0.0),))


def test_a_sink_forgets_jobs_and_still_refuses_what_a_late_node_repeats(both: Both) -> None:
    node = both.node()
    jobs = [f"ventilator:{number}" for number in range(50)]
    for job in jobs:
        both.sink.guest_delivered(node, results(job, 0, 5))
        both.sink.guest_delivered(node, results(job, 5, 6, OutcomeKind.ERROR))
    assert both.recorder.reads == len(jobs)  # each once: what is in use, or was lately, is not read again
    assert len(both.sink._collection._jobs) == len(both.sink._at_hand) == AT_HAND
    both.sink._recent.check()
    before = len(both.recorder.records)
    for job in jobs:
        both.sink.guest_delivered(node, results(job, 0, 5))
        both.sink.guest_delivered(node, results(job, 5, 6, OutcomeKind.ERROR))
    assert len(both.recorder.records) == before
    both.sink.guest_delivered(node, results(jobs[0], 3, 7))
    assert [(r.start, r.stop) for r in both.recorder.records[before:]] == [(5, 7)]


def test_a_ventilator_that_asks_for_a_job_that_was_forgotten_is_told_all(both: Both) -> None:
    ventilator, node = both.ventilate(), both.node()
    jobs = [f"ventilator:{number}" for number in range(2 * AT_HAND)]
    for job in jobs:
        both.sink.guest_delivered(node, results(job, 0, 5))
    told: list[Settled] = []
    both.sink._tellers["ventilator"].tell = told.append  # type: ignore[method-assign]
    guest = both.sink.guests["ventilator"]
    both.recorder.trouble = OSError("disk gone")
    both.sink.guest_delivered(guest, Query(SessionId(2, 1), (jobs[0],)))
    assert told == []  # it asks again
    both.recorder.trouble = None
    both.sink.guest_delivered(guest, Query(SessionId(2, 1), (jobs[0],)))
    assert [(s.start, s.stop, s.attempt) for s in told] == [(0, 5, UNKNOWN_ATTEMPT), (0, 1, END_OF_ANSWER)]
    ventilator.close()


def test_results_of_a_job_that_cannot_be_read_are_stored_and_what_was_there_is_read_later(both: Both) -> None:
    node = both.node()
    both.sink.guest_delivered(node, results("ventilator:1", 0, 5))
    for number in range(2, 2 + AT_HAND):
        both.sink.recall(f"ventilator:{number}")
    both.recorder.trouble = OSError("disk gone")
    both.sink.guest_delivered(node, results("ventilator:1", 5, 8))
    assert both.sink._collection.succeeded("ventilator:1") == RangeSet([(5, 8)])
    both.recorder.trouble = None
    both.sink.guest_delivered(node, results("ventilator:1", 0, 9))
    assert both.sink._collection.succeeded("ventilator:1") == RangeSet([(0, 9)])
    assert [(r.start, r.stop) for r in both.recorder.records] == [(0, 5), (5, 8), (8, 9)]
