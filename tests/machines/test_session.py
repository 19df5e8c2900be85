"""Sessions: histories of each half, then both halves joined by a link that loses, delays and stalls."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.machines.driving import SEEDS, within
from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.session import (
    BulkReceived,
    Closed,
    Command,
    Deliver,
    Event,
    Heard,
    HelloReceived,
    Incoming,
    LeaveRequested,
    Offered,
    Opened,
    Outgoing,
    PartnerEnded,
    Processed,
    RequestReceived,
    SendHello,
    SendStatus,
    State,
    StatusReceived,
    Suspected,
    Timing,
    Transmit,
)
from zmqtasks.messages import (
    OUTCOME_BYTES,
    Address,
    Bulk,
    Outcome,
    OutcomeKind,
    PeerState,
    Results,
    SessionId,
    Status,
    Stored,
)
from zmqtasks.records import replace

SESSION = SessionId(7, 1)
NODE = Address("00112233aabbccdd", "host", ("tcp://10.0.0.7:7700",))
BLANK = SessionId(0, 0)


def status(cum: int = 0, *, gap: bool = False, incarnation: int = 5, **more: Any) -> Status:
    return Status(SESSION, NODE, incarnation, cum=cum, gap=gap, **more)


def results(number: int) -> Results:
    """Return a message that can be told from others by its one outcome; its body is ten bytes."""
    outcome = Outcome("j:1", number, NODE.peer, number, number + 1, OutcomeKind.OK, 0.0, b"0123456789")
    return Results(BLANK, 0, (outcome,))


def numbered(number: int, seq: int | None = None) -> Results:
    return replace(results(number), session=SESSION, seq=seq or number)


def opened(**more: Any) -> Outgoing:
    half = Outgoing(SESSION, 0.0, **more)
    half.handle(StatusReceived(status()), 0.0)
    return half


# The initiator ----------------------------------------------------------------------------------------------------


def test_hello_is_repeated_less_and_less_often_until_it_is_echoed() -> None:
    half = Outgoing(SESSION, 10.0, chance=0.5)
    assert repr(half) == "<Outgoing 1 opening cum=0 next=1 unacked=0/0B>"
    said = []
    for _ in range(9):
        now = half.next_deadline()
        assert half.tick(now) == [SendHello()]
        assert half.tick(now) == []
        said.append(now)
    waits = [round(b - a, 3) for a, b in itertools.pairwise(said)]
    assert waits == [0.25, 0.375, 0.562, 0.844, 1.266, 1.898, 2.5, 2.5]
    echo = status()
    assert half.handle(StatusReceived(echo), 20.0) == [Opened(echo)]
    assert half.incarnation == 5
    assert half.handle(StatusReceived(echo), 20.1) == [Heard(echo)]


def test_messages_are_numbered_kept_and_let_go_when_acknowledged() -> None:
    half = opened()
    assert half.handle(Offered(results(1)), 0.0) == [Transmit((numbered(1),))]
    assert half.handle(Offered(results(2)), 0.0) == [Transmit((numbered(2),))]
    assert half.unacked_bytes == 2 * (10 + OUTCOME_BYTES)
    assert repr(half) == f"<Outgoing 1 up cum=0 next=3 unacked=2/{2 * (10 + OUTCOME_BYTES)}B>"
    half.handle(StatusReceived(status(1)), 0.1)
    assert half.unacked() == (numbered(2),)
    half.handle(StatusReceived(status(2)), 0.2)
    assert half.unacked_bytes == 0
    half.handle(StatusReceived(status(1)), 0.3)
    half.check()
    assert repr(half) == "<Outgoing 1 up cum=2 next=3 unacked=0/0B>"


def test_a_gap_is_filled_from_what_is_missing_but_not_for_every_report_of_it() -> None:
    half = opened()
    for number in (1, 2, 3):
        half.handle(Offered(results(number)), 0.0)
    again = Transmit((numbered(2), numbered(3)))
    assert half.handle(StatusReceived(status(1, gap=True)), 1.0)[:-1] == [again]
    assert half.handle(StatusReceived(status(1, gap=True)), 1.1)[:-1] == []
    assert half.handle(StatusReceived(status(1, gap=True)), 1.3)[:-1] == [again]
    assert half.handle(StatusReceived(status(2, gap=True)), 1.31)[:-1] == [Transmit((numbered(3),))]
    assert half.handle(StatusReceived(status(3, gap=True)), 1.4)[:-1] == []


def test_what_is_offered_by_who_hears_a_status_comes_behind_what_is_sent_again() -> None:
    """Else it would be dropped with what waits, and the node be thought to lack it."""
    half = opened()
    half.handle(Offered(results(1)), 0.0)
    assert half.last_seq == 1
    again, heard = half.handle(StatusReceived(status(gap=True)), 0.1)
    assert isinstance(heard, Heard)
    assert half.handle(Offered(results(2)), 0.1) == [Transmit((numbered(2),))]
    assert (again, half.last_seq) == (Transmit((numbered(1),)), 2)


def test_what_was_just_sent_again_is_given_time_to_arrive() -> None:
    half = opened()
    half.handle(Offered(results(1)), 0.0)
    half.tick(1.0)
    assert half.handle(StatusReceived(status(gap=True)), 1.9)[:1] == [Transmit((numbered(1),))]
    assert half.tick(2.0) == [SendStatus(full=False)]
    half.tick(3.0)
    half.handle(StatusReceived(status()), 3.1)
    assert Transmit((numbered(1),)) in half.tick(3.9)


def test_without_progress_everything_is_sent_again_less_and_less_often() -> None:
    half = opened()
    half.handle(Offered(results(1)), 0.0)
    resent = []
    for tenth in range(1, 1000):
        now = tenth / 10
        if tenth % 5 == 0:
            half.handle(StatusReceived(status()), now)
        resent += [now for command in half.tick(now) if isinstance(command, Transmit)]
    assert resent == [2.0, 6.0, 14.0, 30.0, 62.0, 94.0]
    half.handle(StatusReceived(status(1)), 100.0)
    half.handle(Offered(results(2)), 100.0)
    assert half.next_deadline() <= 101.0
    half.handle(StatusReceived(status(1)), 101.5)
    half.tick(101.5)
    assert Transmit((numbered(2),)) in half.tick(102.0)


def test_to_a_quiet_peer_nothing_is_sent_again_before_it_speaks() -> None:
    """What is sent into a broken way is lost as well, and would only make the next time later."""
    half = opened()
    half.handle(Offered(results(1)), 0.0)
    half.handle(StatusReceived(status()), 0.2)
    for second in range(1, 9):
        assert Transmit((numbered(1),)) not in half.tick(float(second))
    back = status()
    assert half.handle(StatusReceived(back), 8.5) == [Transmit((numbered(1),)), Heard(back)]
    assert half.handle(StatusReceived(status(gap=True)), 8.6)[1:] == []
    assert half.handle(StatusReceived(status()), 9.5)[1:] == []
    assert Transmit((numbered(1),)) in half.tick(10.5)
    assert half.handle(StatusReceived(status(1)), 13.0)[1:] == []


@pytest.mark.parametrize("half", [opened, lambda: Incoming(SESSION, 0.0)], ids=["initiator", "acceptor"])
def test_while_a_peer_is_quiet_and_just_after_it_is_told_more_often_that_one_lives(half: Any) -> None:
    """Where a way has just healed, the first word may go down with a connection that does not last."""
    end = half()
    spoken = []

    def pass_time(until: float) -> None:
        while (now := end.next_deadline()) <= until:
            spoken.extend(now for command in end.tick(now) if isinstance(command, SendStatus))

    pass_time(2.9)
    assert spoken == [1.0, 2.0, 2.25, 2.5, 2.75]
    end.handle(StatusReceived(status()), 2.95)
    pass_time(4.4)
    assert spoken[5:] == [3.0, 3.25, 3.5, 3.75, 4.0, 4.25]
    for at in (4.4, 5.4, 6.4):
        end.handle(StatusReceived(status()), at)
        pass_time(at + 1.0)
    assert spoken[11:] == [4.5, 5.5, 6.5]


def test_what_is_sent_just_after_a_silence_is_soon_sent_again() -> None:
    """Where a way has just healed, it may have gone down with a connection that did not last."""
    half = opened()
    half.handle(StatusReceived(status()), 5.0)
    half.handle(Offered(results(1)), 5.1)
    resent = []
    while (now := half.next_deadline()) < 12.0:
        resent += [round(now, 3) for command in half.tick(now) if isinstance(command, Transmit)]
        half.handle(StatusReceived(status()), now)
    assert resent == [5.6, 6.1, 6.6, 8.6]


def test_who_has_not_listened_for_a_while_sends_nothing_again_for_it() -> None:
    half = opened()
    half.handle(Offered(results(1)), 0.0)
    half.tick(1.0)
    half.handle(StatusReceived(status()), 1.0)
    assert half.handle(StatusReceived(status()), 7.0)[1:] == []


def test_silence_is_suspected_then_the_end() -> None:
    half = opened()
    half.handle(Offered(results(1)), 0.0)
    commands = [(now / 2, command) for now in range(1, 24) for command in half.tick(now / 2)]
    assert [c for c in commands if not isinstance(c[1], SendStatus | Transmit)] == [
        (3.0, Suspected()),
        (10.0, Closed("silent for 10.0 s", unacked=(numbered(1),))),
    ]
    assert half.next_deadline() == float("inf")
    assert repr(half) == "<Outgoing 1 closed cum=0 next=1 unacked=0/0B>"
    assert half.handle(StatusReceived(status()), 12.0) == []


def test_a_suspected_peer_that_speaks_is_up_again_and_gets_bulk_meanwhile() -> None:
    half = opened()
    for second in (1.0, 2.0, 3.0):
        half.tick(second)
    assert repr(half) == "<Outgoing 1 suspect cum=0 next=1 unacked=0/0B>"
    assert half.handle(Offered(results(1)), 3.5) == [Transmit((numbered(1),))]
    assert half.handle(StatusReceived(status()), 4.0) == [Transmit((numbered(1),)), Heard(status())]
    assert repr(half) == f"<Outgoing 1 up cum=0 next=2 unacked=1/{10 + OUTCOME_BYTES}B>"


def test_ones_own_stall_is_not_the_silence_of_the_peer() -> None:
    half = opened()
    half.tick(1.0)
    assert half.tick(100.0) == [SendStatus(full=False)]
    commands = [command for tenth in range(1001, 1120) for command in half.tick(tenth / 10)]
    assert [c for c in commands if not isinstance(c, SendStatus)] == [Suspected(), Closed("silent for 10.0 s")]


@pytest.mark.parametrize("initiator", [True, False])
def test_after_ones_own_stall_what_came_meanwhile_has_a_moment_to_be_heard(initiator: bool) -> None:
    """A process that continues may find its inbox empty: what the kernel has gets there by another thread."""
    half = opened() if initiator else Incoming(SESSION, 0.0, Timing(lease_s=10.0))
    for tenth in range(1, 96):
        half.tick(tenth / 10)
    said = half.tick(30.0)
    assert said
    assert not [command for command in said if isinstance(command, Closed)]
    assert half.next_deadline() == pytest.approx(30.2)
    assert not [command for command in half.tick(30.1) if isinstance(command, Closed)]
    assert [type(command) for command in half.tick(half.next_deadline())] == [Closed]


def test_who_is_stalled_again_and_again_still_gives_a_silent_peer_up() -> None:
    half = opened()
    ended = next(now for now in range(3, 90, 3) for command in half.tick(now) if isinstance(command, Closed))
    assert 30 < ended <= 45, "of each 3 s, one counts"


@pytest.mark.parametrize("stall_s", [5.0, 12.0, 20.0, 59.0])
def test_a_stall_of_the_initiator_closes_neither_end(stall_s: float) -> None:
    """A client that holds the interpreter's lock: longer than the silence that closes, shorter than the lease."""
    client, node = opened(), Incoming(SESSION, 0.0)
    client.tick(1.0)
    node.handle(StatusReceived(status()), 1.0)
    for tenth in range(11, int(10 * (1.0 + stall_s))):
        assert all(isinstance(command, SendStatus) for command in node.tick(tenth / 10))
    now = 1.0 + stall_s
    assert client.tick(now) == [SendStatus(full=False)]
    assert client.handle(StatusReceived(status()), now) == [Heard(status())]
    assert node.handle(StatusReceived(status()), now) == [Heard(status())]
    assert (client.state, node.state) == ("up", "up")


@pytest.mark.parametrize(
    ("said", "closed"),
    [
        (status(incarnation=6), Closed("the peer was restarted", died=True, unacked=(numbered(1),))),
        (status(state=PeerState.BYE), Closed("the peer left", unacked=(numbered(1),))),
        (status(state=PeerState.REJECT, reason="no"), Closed("no", rejected=True, unacked=(numbered(1),))),
        (
            status(state=PeerState.REJECT, reason="unknown session", incarnation=6),
            Closed("unknown session", died=True, unacked=(numbered(1),)),
        ),
        (status(2), Closed("the peer acknowledged 2, and 1 was the last sent", unacked=(numbered(1),))),
    ],
    ids=["restarted", "left", "rejected", "restarted and rejecting", "acknowledging too much"],
)
def test_what_ends_a_session_that_is_up(said: Status, closed: Closed) -> None:
    half = opened()
    half.handle(Offered(results(1)), 0.0)
    assert half.handle(StatusReceived(said), 1.0) == [closed]
    half.check()


def test_a_rejected_hello_names_the_reason() -> None:
    half = Outgoing(SESSION, 0.0)
    said = status(state=PeerState.REJECT, reason="this key is unknown here")
    assert half.handle(StatusReceived(said), 0.1) == [Closed("this key is unknown here", rejected=True)]


def test_leaving_says_goodbye_and_hands_back_what_is_not_acknowledged() -> None:
    half = opened()
    half.handle(Offered(results(1)), 0.0)
    assert half.handle(LeaveRequested(), 1.0) == [
        SendStatus(full=False, state=PeerState.BYE),
        Closed("left", unacked=(numbered(1),)),
    ]


# The acceptor -----------------------------------------------------------------------------------------------------


def test_messages_are_delivered_once_and_in_order() -> None:
    half = Incoming(SESSION, 0.0)
    assert half.handle(HelloReceived(), 0.0) == [SendStatus(full=True)]
    assert half.handle(BulkReceived(numbered(1)), 0.0) == [Deliver(numbered(1))]
    assert half.handle(BulkReceived(numbered(3)), 0.0) == [SendStatus(full=False)]
    assert repr(half) == "<Incoming 1 up cum=0 taken=1 gap>"
    assert half.handle(BulkReceived(numbered(4)), 0.0) == []
    assert half.handle(BulkReceived(numbered(1)), 0.0) == []
    assert half.handle(BulkReceived(numbered(2)), 0.0) == [Deliver(numbered(2))]
    assert repr(half) == "<Incoming 1 up cum=0 taken=2>"
    half.check()


def test_what_was_processed_is_acknowledged_soon_and_once() -> None:
    half = Incoming(SESSION, 0.0)
    for number in (1, 2, 3):
        half.handle(BulkReceived(numbered(number)), 0.0)
    half.handle(Processed(2), 0.5)
    half.handle(Processed(3), 0.505)
    assert half.next_deadline() == 0.55
    assert half.tick(0.549) == []
    assert half.tick(0.55) == [SendStatus(full=False)]
    assert half.tick(0.56) == []
    assert half.next_deadline() == 1.0
    assert half.tick(1.0) == [SendStatus(full=True)]
    assert repr(half) == "<Incoming 1 up cum=3 taken=3>"


def test_the_more_has_come_the_sooner_it_is_acknowledged() -> None:
    half = Incoming(SESSION, 0.0, Timing(small_bytes=2 * results(1).size_bytes))
    for number in (1, 2):
        half.handle(BulkReceived(numbered(number)), 0.0)
        half.handle(Processed(number), 0.5)
    assert half.next_deadline() == 0.51
    assert half.tick(0.51) == [SendStatus(full=False)]
    half.handle(BulkReceived(numbered(3)), 0.6)
    half.handle(Processed(3), 0.6)
    assert half.next_deadline() == pytest.approx(0.65), "what was acknowledged counts no more"


def test_a_repetition_is_acknowledged_again() -> None:
    half = Incoming(SESSION, 0.0)
    half.handle(BulkReceived(numbered(1)), 0.0)
    half.handle(BulkReceived(numbered(1)), 0.1)
    assert half.next_deadline() == pytest.approx(0.11)


def test_a_silent_initiator_is_kept_for_its_lease() -> None:
    half = Incoming(SESSION, 0.0, Timing(lease_s=5.0))
    assert half.handle(StatusReceived(status()), 1.0) == [Heard(status())]
    commands = [(half_second / 2, c) for half_second in range(2, 13) for c in half.tick(half_second / 2)]
    assert commands[-1] == (6.0, Closed("silent for 5 s: its lease has ended"))
    assert half.next_deadline() == float("inf")
    assert half.tick(7.0) == []


@pytest.mark.parametrize(
    ("event", "commands"),
    [
        (StatusReceived(status(state=PeerState.BYE)), [Closed("the peer left", died=True)]),
        (LeaveRequested(), [SendStatus(full=False, state=PeerState.BYE), Closed("left")]),
    ],
)
def test_what_ends_a_session_at_the_acceptor(event: Event, commands: list[Command]) -> None:
    half = Incoming(SESSION, 0.0)
    assert half.handle(event, 1.0) == commands
    for late in (HelloReceived(), BulkReceived(numbered(1)), StatusReceived(status()), Processed(1), LeaveRequested()):
        assert half.handle(late, 2.0) == [], "what was under way is no error"


# What is not legal ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [Offered(results(1)), HelloReceived(), BulkReceived(numbered(1)), Processed(0)],
    ids=lambda e: type(e).__name__,
)
def test_illegal_moves_of_an_initiator(event: Event) -> None:
    half = Outgoing(SESSION, 0.0)
    with pytest.raises(LocalProtocolError, match=f"{type(event).__name__} is not legal in <Outgoing 1 opening "):
        half.handle(event, 0.0)


def test_a_process_that_is_known_to_be_gone_is_not_waited_for() -> None:
    half = opened()
    half.handle(Offered(results(1)), 0.5)
    assert half.handle(PartnerEnded(), 1.0) == [Closed("its process has ended", died=True, unacked=(numbered(1),))]
    assert half.handle(PartnerEnded(), 1.0) == [], "it is over already"


def test_an_initiator_that_is_known_to_be_gone_is_not_kept_for_its_lease() -> None:
    half = Incoming(SESSION, 0.0)
    assert half.handle(PartnerEnded(), 1.0) == [Closed("its process has ended", died=True)]
    assert half.handle(PartnerEnded(), 1.0) == []
    assert half.next_deadline() == float("inf")


def test_a_process_that_ended_before_it_had_answered_is_not_ours() -> None:
    half = Outgoing(SESSION, 0.0)
    assert half.handle(PartnerEnded(), 0.0) == []
    assert half.tick(0.0) == [SendHello()]


@pytest.mark.parametrize("event", [Offered(results(1)), LeaveRequested()], ids=lambda e: type(e).__name__)
def test_illegal_moves_of_an_initiator_that_is_closed(event: Event) -> None:
    half = opened()
    half.handle(LeaveRequested(), 0.0)
    with pytest.raises(LocalProtocolError, match=f"{type(event).__name__} is not legal in <Outgoing 1 closed "):
        half.handle(event, 0.0)


@pytest.mark.parametrize("event", [Offered(results(1)), Processed(1), Processed(-1)], ids=repr)
def test_illegal_moves_of_an_acceptor(event: Event) -> None:
    half = Incoming(SESSION, 0.0)
    with pytest.raises(LocalProtocolError, match=f"{type(event).__name__} is not legal in <Incoming 1 up "):
        half.handle(event, 0.0)


def test_nothing_is_offered_to_an_acceptor_even_after_its_end() -> None:
    half = Incoming(SESSION, 0.0)
    half.handle(LeaveRequested(), 0.0)
    with pytest.raises(LocalProtocolError, match="Offered is not legal in <Incoming 1 closed "):
        half.handle(Offered(results(1)), 0.0)


# Deadlines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [0.0, 1 / 3, 7.313, 58.981, 126.921, 966.256])
def test_a_tick_at_the_deadline_always_moves_it(begun: float) -> None:
    """A clock that jumps from deadline to deadline would else stand still for ever."""
    outgoing, incoming = Outgoing(SESSION, begun), Incoming(SESSION, begun)
    outgoing.handle(StatusReceived(status()), begun)
    outgoing.handle(Offered(results(1)), begun)
    for half in (outgoing, incoming):
        deadline = half.next_deadline()
        for _ in range(1000):
            half.tick(deadline)
            earlier, deadline = deadline, half.next_deadline()
            assert deadline > earlier
            if deadline == float("inf"):
                break
        assert deadline == float("inf"), "nothing was heard: it has to end"


# Both halves, and what lies between them --------------------------------------------------------------------------


@dataclass
class World:
    """An initiator that keeps opening sessions, an acceptor that is restarted, and the links between them."""

    dice: random.Random
    lossy: bool = True
    now: float = 0.0
    session: int = 0
    incarnation: int = 1
    offered: dict[SessionId, list[int]] = field(default_factory=dict)
    delivered: dict[SessionId, list[int]] = field(default_factory=dict)
    acked: dict[SessionId, int] = field(default_factory=dict)
    pending: list[int] = field(default_factory=list)
    recorded: set[int] = field(default_factory=set)
    next_number: int = 1
    bulk: list[Bulk] = field(default_factory=list)
    control: list[tuple[str, Any]] = field(default_factory=list)
    unprocessed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.renew()
        self.incoming: Incoming | None = None

    def renew(self) -> None:
        self.session += 1
        self.outgoing = Outgoing(SessionId(7, self.session), self.now, chance=self.dice.random())
        self.bulk.clear()

    # The initiator's shell

    def out(self, commands: list[Command]) -> None:
        id_ = self.outgoing.session
        self.outgoing.check()
        for command in commands:
            match command:
                case SendHello():
                    self.control.append(("hello", id_))
                case SendStatus():
                    self.control.append(("status", id_))
                case Transmit(messages):
                    assert messages[0].seq > self.acked.get(id_, 0), "what was acknowledged is never sent again"
                    self.bulk += messages
                case Closed(unacked=unacked):
                    self.pending[:0] = [o.attempt for m in unacked if isinstance(m, Results) for o in m.outcomes]
                    self.renew()
                case Opened() | Heard():
                    acked = command.status.cum
                    assert acked >= self.acked.get(id_, 0)
                    self.acked[id_] = acked
                case Suspected():
                    pass

    def offer(self) -> None:
        if self.outgoing.incarnation is None:
            return
        numbers, self.pending = self.pending or [self.next_number], []
        self.next_number = max(self.next_number, numbers[-1] + 1)
        for number in numbers:
            self.offered.setdefault(self.outgoing.session, []).append(number)
            self.out(self.outgoing.handle(Offered(results(number)), self.now))

    # The acceptor's shell

    def into(self, commands: list[Command]) -> None:
        assert self.incoming is not None
        half = self.incoming
        half.check()
        for command in commands:
            match command:
                case SendStatus():
                    said = Status(half.session, NODE, self.incarnation, cum=half.cum, gap=half.gap)
                    self.control.append(("back", said))
                case Deliver(message):
                    assert isinstance(message, Results)
                    self.delivered.setdefault(half.session, []).append(message.outcomes[0].attempt)
                    self.unprocessed.append(message.seq)
                case Closed():
                    self.incoming = None

    def process(self) -> None:
        if self.incoming is None or not self.unprocessed:
            return
        part = self.dice.randint(1, len(self.unprocessed))
        seq, self.unprocessed = self.unprocessed[part - 1], self.unprocessed[part:]
        done = self.delivered[self.incoming.session][:seq]
        self.recorded |= set(done)
        self.into(self.incoming.handle(Processed(seq), self.now))

    def restart(self) -> None:
        self.incarnation += 1
        self.incoming = None
        self.unprocessed = []

    # The links

    def carry(self) -> None:
        """Deliver what is under way; of bulk a contiguous run may be lost, of control anything."""
        if self.lossy and self.bulk and self.dice.random() < 0.2:
            start = self.dice.randrange(len(self.bulk))
            del self.bulk[start : start + self.dice.randint(1, 10)]
        bulk, self.bulk = self.bulk, []
        for message in bulk:
            if self.incoming is not None and message.session == self.incoming.session:
                self.into(self.incoming.handle(BulkReceived(message), self.now))
        control, self.control = self.control, []
        for kind, said in control:
            if not (self.lossy and self.dice.random() < 0.2):
                self.hand_over(kind, said)

    def hand_over(self, kind: str, said: Any) -> None:
        if kind == "back":
            if said.session == self.outgoing.session:
                self.out(self.outgoing.handle(StatusReceived(said), self.now))
        elif self.incoming is not None and said == self.incoming.session:
            event: Event = HelloReceived() if kind == "hello" else StatusReceived(Status(said, NODE, 7))
            self.into(self.incoming.handle(event, self.now))
        elif kind == "hello" and (self.incoming is None or said > self.incoming.session):
            self.incoming, self.unprocessed = Incoming(said, self.now), []
            self.into(self.incoming.handle(HelloReceived(), self.now))
        elif kind == "status":
            refusal = Status(said, NODE, self.incarnation, state=PeerState.REJECT, reason="unknown session")
            self.control.append(("back", refusal))

    def tick(self) -> None:
        self.out(self.outgoing.tick(self.now))
        if self.incoming is not None:
            self.into(self.incoming.tick(self.now))

    def step(self) -> None:
        self.now += self.dice.choice([0.001, 0.01, 0.05, 0.3])
        if self.lossy and self.dice.random() < 0.01:
            self.now += self.dice.choice([1.0, 5.0, 20.0])
        if self.lossy and self.dice.random() < 0.01:
            self.restart()
        if self.dice.random() < 0.5:
            self.offer()
        moves = [self.carry, self.process, self.tick]
        self.dice.shuffle(moves)
        for move in moves:
            if self.dice.random() < 0.8:
                move()

    def settle(self) -> float:
        """Stop losing and stalling; return how many seconds it takes until all is delivered."""
        self.lossy = False
        begun = self.now
        while self.pending or self.outgoing.unacked() or self.outgoing.incarnation is None:
            self.now += 0.01
            self.tick()
            self.carry()
            self.process()
            if self.pending and self.outgoing.incarnation is not None:
                self.offer()
            assert self.now - begun < 60.0, f"never settles: {self.outgoing!r} {self.incoming!r}"
        return self.now - begun

    def judge(self) -> None:
        for session, delivered in self.delivered.items():
            assert delivered == self.offered[session][: len(delivered)], "each once, in order"
        assert self.recorded == set(range(1, self.next_number)), "all is there in the end"


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_doubled_or_reordered_over_a_bad_link(seed: int) -> None:
    world = World(random.Random(seed))
    for _ in range(400):
        world.step()
    assert world.settle() < 45.0
    world.judge()


def test_long_run_of_5_000_sessions() -> None:
    with within(10.0):
        world = World(random.Random(0), lossy=False)
        for _ in range(5_000):
            world.settle()
            for _ in range(3):
                world.offer()
            world.carry()
            world.process()
            world.restart()
            world.now += 1.0
            world.tick()
        world.settle()
        world.judge()
    assert world.session > 4_000
    assert world.outgoing.unacked_bytes == 0


def test_long_run_of_one_silent_initiator_and_one_full_session() -> None:
    with within(5.0):
        half = Outgoing(SESSION, 0.0)
        for _ in range(5_000):
            half.tick(half.next_deadline())
        half = opened()
        for number in range(1, 20_001):
            half.handle(Offered(Stored(BLANK, 0)), 0.0)
            if number % 100 == 0:
                half.handle(StatusReceived(status(number - 50)), 0.0)
        assert len(half.unacked()) == 50
        for second in range(1, 5_000):
            half.tick(second / 2)
            half.handle(StatusReceived(status(19_950)), second / 2)
    half.check()


def test_a_stranger_is_kept_for_a_short_time_until_it_has_answered() -> None:
    timing = Timing(lease_s=60.0, close_s=10.0)
    half = Incoming(SESSION, 0.0, timing, known=False)
    half.handle(HelloReceived(), 5.0)
    for second in range(1, 15):
        half.tick(float(second))
    assert half.state is State.UP
    for second in range(15, 17):
        half.tick(float(second))
    assert half.state is State.CLOSED
    answered = Incoming(SESSION, 0.0, timing, known=False)
    answered.handle(StatusReceived(status()), 1.0)
    assert answered.lease_s == 60.0
    asked = Incoming(SESSION, 0.0, timing, known=False)
    assert asked.handle(RequestReceived(), 1.0) == []
    assert asked.lease_s == 60.0
    heard = Incoming(SESSION, 0.0, timing, known=False)
    heard.handle(BulkReceived(results(1)), 1.0)
    assert heard.lease_s == 60.0
    assert Incoming(SESSION, 0.0, Timing(lease_s=5.0), known=False).lease_s == 5.0
