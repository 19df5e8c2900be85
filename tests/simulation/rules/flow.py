"""Rules 7 and 8 and the table of messages: windows, order of storing and telling, clocks, requests, what is decoded."""

from __future__ import annotations

from typing import Any

import msgpack

from tests.simulation.rules import flow_scenarios as scenarios
from tests.simulation.rules.rule import Patch, Rule
from zmqtasks import sessions, sink
from zmqtasks.errors import RemoteProtocolError
from zmqtasks.machines import dispatch_moves as moves
from zmqtasks.machines import holding, session, wishes
from zmqtasks.machines.collection import OutcomeReceived, Record
from zmqtasks.machines.dispatch import Dispatch
from zmqtasks.machines.filling import Filling
from zmqtasks.messages import Query, Results, Window
from zmqtasks.node import routes, shell
from zmqtasks.records import replace
from zmqtasks.testing.clock import PeerClock
from zmqtasks.ventilator import resuming
from zmqtasks.wire import codec, headers

# Rule 7


def _boundless() -> tuple[Patch, ...]:
    original = Filling._choose

    def choose(self: Filling, job: Any, account: Any) -> tuple[int, int] | None:
        told, account.window = account.window, Window(10**9, 10**15)
        try:
            return original(self, job, account)
        finally:
            account.window = told

    return ((Filling, "_choose", choose),)


def _incremental() -> tuple[Patch, ...]:
    original = Dispatch._node_heard

    def heard(self: Dispatch, event: moves.NodeHeard, now: float) -> list[moves.Command]:
        had = self._book.nodes[event.node].window
        more = Window(had.tasks + event.window.tasks, had.bytes + event.window.bytes)
        return original(self, replace(event, window=more), now)

    return ((Dispatch, "_node_heard", heard),)


def _uncongested() -> tuple[Patch, ...]:
    return ((holding.Holding, "_sink_congested", lambda self, event: []),)


def _congested_for_good() -> tuple[Patch, ...]:
    original = routes.Route._judge_congestion

    def judge(self: Any) -> None:
        if not self._congested:
            original(self)

    return ((routes.Route, "_judge_congestion", judge),)


def _flooding() -> tuple[Patch, ...]:
    original = routes.Route.flush

    def flush(self: Any) -> None:
        self._window_bytes = 10**15
        original(self)

    return ((routes.Route, "flush", flush),)


def _lazy_acknowledgement() -> tuple[Patch, ...]:
    return ((session.Incoming, "_acknowledge_by", lambda self, at: None),)


# Rule 8


def _collect(*, early: str) -> tuple[Patch, ...]:
    """Let a sink acknowledge, or tell the ventilator, before it has stored."""

    def collect(self: Any, guest: Any, message: Results) -> None:
        now = self._peer.loop.time()
        commands = [c for o in message.outcomes for c in self._collection.handle(OutcomeReceived(o), now)]
        records = [command for command in commands if isinstance(command, Record)]

        def acknowledge() -> None:
            guest.processed(message.seq)

        def tell() -> None:
            for command in commands:
                if not isinstance(command, Record):
                    self._tell(command.settled)

        def stored() -> None:
            self._count(records)
            (tell if early == "acknowledge" else acknowledge)()

        (acknowledge if early == "acknowledge" else tell)()
        self._recorder.record(records, stored)

    return ((sink.Sink, "_collect", collect),)


def _sent_before_written() -> tuple[Patch, ...]:
    original = resuming.Resuming.add

    def add(self: Any, job: str, items: Any, form: Any, known: Any, release: Any) -> None:
        first = self._jobs[job].added
        original(self, job, items, form, known, lambda start, stop: None)
        release(first, first + len(items))

    return ((resuming.Resuming, "add", add),)


def _sent_before_marked() -> tuple[Patch, ...]:
    original = resuming.Resuming.write_sent

    def write_sent(self: Any, stops: Any, on_written: Any) -> None:
        on_written()
        original(self, stops, lambda: None)

    return ((resuming.Resuming, "write_sent", write_sent),)


def _wall_clock() -> tuple[Patch, ...]:
    time, call_at = PeerClock.time, PeerClock.call_at

    def jumping(self: Any) -> float:
        return time(self) + float(getattr(self, "wall_jump_s", 0.0))

    def call_at_wall(self: Any, when: float, callback: Any, *args: Any) -> Any:
        return call_at(self, when - getattr(self, "wall_jump_s", 0.0), callback, *args)

    return (PeerClock, "time", jumping), (PeerClock, "call_at", call_at_wall)


def _moments_on_the_wire() -> tuple[Patch, ...]:
    """Let a node say when a task may be tried again by its own clock, and a ventilator believe that."""
    emit, settled = shell.Node._emit, Dispatch._outcome_settled

    def saying_when(self: Any, job: Any, outcomes: Any) -> None:
        now = self._peer.loop.time()
        emit(self, job, [replace(o, delay_s=now + o.delay_s) if o.delay_s else o for o in outcomes])

    def waiting_until(self: Dispatch, event: moves.OutcomeSettled, now: float) -> list[moves.Command]:
        said = event.settled
        if said.delay_s:
            event = replace(event, settled=said._replace(delay_s=max(0.0, said.delay_s - now)))
        return settled(self, event, now)

    return (shell.Node, "_emit", saying_when), (Dispatch, "_outcome_settled", waiting_until)


# The messages


def _reticent() -> tuple[Patch, ...]:
    never = float("inf")
    return (wishes.Wishes, "due", lambda self, now: []), (wishes.Wishes, "next_deadline", lambda self: never)


def _incurious() -> tuple[Patch, ...]:
    original = sessions.Link.request

    def request(self: Any, make: Any) -> None:
        if not isinstance(make(self.machine.session), Query):
            original(self, make)

    return ((sessions.Link, "request", request),)


class _Unlimited:
    """msgpack without limits."""

    @staticmethod
    def unpackb(data: Any, **options: Any) -> Any:
        return msgpack.unpackb(data, **{**options, "max_array_len": 2**31 - 1, "max_map_len": 2**31 - 1})

    Packer = msgpack.Packer


def _unlimited() -> tuple[Patch, ...]:
    return (headers, "msgpack", _Unlimited), (codec, "integer", lambda value, name, low, high: value)


def _narrow_minded() -> tuple[Patch, ...]:
    original = codec.parse_map

    def parse(data: Any, name: str, most_items: int) -> dict[str, Any]:
        header = original(data, name, most_items)
        if unknown := header.keys() - set("tsranplvemicgwhobdjxk") - {"st", "re"}:
            raise RemoteProtocolError(f"{name}: unknown keys {sorted(unknown)}")
        return header

    return ((codec, "parse_map", parse),)


RULES = (
    Rule("7a", "Nobody has more aboard than the last window it was told", "Dispatch knows no window",
         _boundless, scenarios.a_node_is_sent_what_its_window_takes),
    Rule("7b", "A window replaces the one before it", "Dispatch adds it up",
         _incremental, scenarios.a_node_is_sent_what_its_window_takes),
    Rule("7c", "A node starts nothing while the unacknowledged results exceed its bound", "Holding ignores congestion",
         _uncongested, scenarios.a_slow_sink_stops_a_node),
    Rule("7d", "It starts again when there is room", "Route never tells of it",
         _congested_for_good, scenarios.a_slow_sink_stops_a_node),
    Rule("7e", "A sink is sent no more than its window", "Route ignores it",
         _flooding, scenarios.a_sink_is_sent_what_its_window_takes),
    Rule("7f", "What was processed is acknowledged within 50 ms", "Incoming waits for its beat",
         _lazy_acknowledgement, scenarios.acknowledgements_do_not_wait_for_the_beat),
    Rule("8a", "Clocks are monotonic", "PeerClock jumps with the wall clock",
         _wall_clock, scenarios.clocks_of_the_wall_may_jump),
    Rule("8b", "Only durations travel", "Node and Dispatch send and take moments",
         _moments_on_the_wire, scenarios.clocks_of_two_hosts_have_nothing_in_common),
    Rule("8c", "Tasks are written in the journal before they are dispatched", "Resuming releases them at once",
         _sent_before_written, scenarios.tasks_are_written_before_they_are_sent),
    Rule("8d", "Results are acknowledged only when they are stored", "Sink acknowledges first",
         lambda: _collect(early="acknowledge"), scenarios.a_sink_dies_over_what_it_was_storing),
    Rule("8e", "A ventilator is told only of what is stored", "Sink tells first", lambda: _collect(early="tell")),
    Rule("8f", "With retry=False it is written that a task is about to be sent, and then sent", "Resuming sends first",
         _sent_before_marked, scenarios.at_most_once_tasks_are_marked_before_they_are_sent),
    Rule("0b", "CANCEL is repeated until the inventory answers it", "Wishes never reminds",
         _reticent, scenarios.a_cancel_that_was_lost_is_repeated),
    Rule("0c", "QUERY asks a sink that answers again what it has", "Link sends none",
         _incurious, scenarios.a_sink_dies_before_it_could_tell),
    Rule("0d", "Limits are checked before anything is allocated", "codec and headers parse what comes",
         _unlimited, scenarios.a_header_that_is_too_large_costs_nothing),
    Rule("0e", "Unknown keys of a header are ignored", "codec refuses them",
         _narrow_minded, scenarios.a_key_of_tomorrow_is_ignored),
)  # fmt: skip
