"""Rules 1 to 3: what is sent again, who is alive, for how long a silent client is missed."""

from __future__ import annotations

from typing import Any

from tests.simulation import test_faults
from tests.simulation.rules import scenarios
from tests.simulation.rules.rule import Patch, Rule
from zmqtasks import sessions
from zmqtasks.machines import book, dispatch, holding_moves, session, unwanted
from zmqtasks.machines.session import silence
from zmqtasks.messages import Bulk, Status
from zmqtasks.node import routes, shell
from zmqtasks.records import replace


def timed(half: type[Any], **seconds: float) -> tuple[Patch, ...]:
    """Return a half of a session that keeps other times."""
    original = half.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        self._timing = replace(self._timing, **seconds)

    return ((half, "__init__", init),)


# Rule 1


def _deaf_to_gaps() -> tuple[Patch, ...]:
    return ((session.Outgoing, "_rewind", lambda self, status, now: []),)


def _patient() -> tuple[Patch, ...]:
    original = session.Outgoing.tick

    def tick(self: session.Outgoing, now: float) -> list[session.Command]:
        return [command for command in original(self, now) if not isinstance(command, session.Transmit)]

    return ((session.Outgoing, "tick", tick),)


def _skips_gaps() -> tuple[Patch, ...]:
    original = session.Incoming._take

    def take(self: session.Incoming, message: Bulk, now: float) -> list[session.Command]:
        self.taken = max(self.taken, message.seq - 1)
        return original(self, message, now)

    return ((session.Incoming, "_take", take),)


def _takes_twice() -> tuple[Patch, ...]:
    original = session.Incoming._take

    def take(self: session.Incoming, message: Bulk, now: float) -> list[session.Command]:
        if message.seq <= self.taken:
            self.taken = message.seq - 1
            self.cum = min(self.cum, self.taken)
        return original(self, message, now)

    return ((session.Incoming, "_take", take),)


# Rule 2


def _up_without_echo() -> tuple[Patch, ...]:
    opened, renew = sessions.Link._opened, sessions.Link._renew

    def noting(self: Any, wire: Any, status: Status) -> None:
        self.last = status
        opened(self, wire, status)

    def hopeful(self: Any) -> None:
        renew(self)
        if self.partner is not None:
            echo = replace(self.last, session=self.machine.session, cum=0, gap=False, have=())
            self.handle(session.StatusReceived(echo))

    return (sessions.Link, "_opened", noting), (sessions.Link, "_renew", hopeful)


def _one_hello() -> tuple[Patch, ...]:
    original = session.Outgoing._say_hello

    def say_hello(self: session.Outgoing, now: float) -> list[session.Command]:
        said = original(self, now)
        self._hello_at = float("inf")
        return said

    return ((session.Outgoing, "_say_hello", say_hello),)


def _trusting() -> tuple[Patch, ...]:
    return ((dispatch.Dispatch, "_node_suspected", lambda self, event, now: []),)


def _same_incarnation() -> tuple[Patch, ...]:
    original = session.Outgoing._take

    def take(self: session.Outgoing, status: Status, now: float) -> list[session.Command]:
        self.incarnation = None
        return original(self, status, now)

    return ((session.Outgoing, "_take", take),)


def _forgetful() -> tuple[Patch, ...]:
    original = book.Book.put_back

    def put_back(self: book.Book, job: Any, start: int, stop: int) -> None:
        if stop > job.sent:
            original(self, job, start, stop)

    return ((book.Book, "put_back", put_back),)


def _one_session() -> tuple[Patch, ...]:
    return ((sessions.Link, "_renew_unless_closed", lambda self: None),)


def _undrained() -> tuple[Patch, ...]:
    def tick(self: Any) -> None:
        self._timer, self._due = None, float("inf")
        self._carry_out(self.machine.tick(self._peer.loop.time()))

    return ((sessions.end.End, "_tick", tick),)


def _self_righteous() -> tuple[Patch, ...]:
    return ((silence.Half, "_excuse_own_stall", lambda self, now: None),)


def _silent_beat() -> tuple[Patch, ...]:
    outgoing, incoming = session.Outgoing.tick, session.Incoming.tick

    def mute(original: Any) -> Any:
        def tick(self: Any, now: float) -> list[session.Command]:
            beat = now >= self._beat_at
            commands = original(self, now)
            return [c for c in commands if not (beat and isinstance(c, session.SendStatus))]

        return tick

    return (session.Outgoing, "tick", mute(outgoing)), (session.Incoming, "tick", mute(incoming))


# Rule 3


def _homeless() -> tuple[Patch, ...]:
    return ((shell.Node, "guest_left", lambda self, guest, closed: None),)


def _lenient() -> tuple[Patch, ...]:
    return ((unwanted.Unwanted, "kill_if_unwanted", lambda self, slot: []),)


def _hoarder() -> tuple[Patch, ...]:
    return ((shell.Node, "guest_joined", lambda self, guest, *, again: None),)


def _impatient_with_newer() -> tuple[Patch, ...]:
    def joined(self: Any, guest: Any, *, again: bool) -> None:
        if again:
            self._hold(holding_moves.VentilatorGone(guest.id))

    return ((shell.Node, "guest_joined", joined),)


def _careless_route() -> tuple[Patch, ...]:
    return ((routes.Route, "link_closed", lambda self, link, closed: None),)


RULES = (
    Rule("1a", "A reported gap is answered at once by all that follows `cum`", "Outgoing ignores `gap`",
         _deaf_to_gaps, scenarios.lost_runs_cost_no_pause),
    Rule("1b", "Without progress for 2 s, all that follows `cum` is sent again", "Outgoing repeats only on `gap`",
         _patient),
    Rule("1c", "A bulk message is taken only if its number is the next", "Incoming skips what is missing",
         _skips_gaps, is_quick=False),
    Rule("1d", "A bulk message is taken once", "Incoming takes repetitions", _takes_twice),
    Rule("2a", "A session is up only when a STATUS echoes it", "Link takes a new session for the one before it",
         _up_without_echo, scenarios.a_vanished_node_gets_nothing_more),
    Rule("2b", "HELLO is repeated until it is echoed", "Outgoing says it once",
         _one_hello, scenarios.a_hello_that_was_lost_is_repeated),
    Rule("2c", "A peer that is silent for 3 s gets no new tasks", "Dispatch ignores NodeSuspected",
         _trusting, scenarios.a_silent_node_gets_nothing_new),
    Rule("2d", "A peer that is silent for 10 s is given up", "Outgoing waits for ever",
         lambda: timed(session.Outgoing, close_s=1e9), scenarios.a_vanished_node_is_given_up),
    Rule("2e", "A new incarnation ends the session, and tells of a death", "Outgoing takes any for the same",
         _same_incarnation, test_faults.test_a_task_that_three_nodes_died_with_is_recorded_as_their_killer),
    Rule("2f", "What a closed session held goes back to the queue", "Dispatch forgets it", _forgetful),
    Rule("2g", "A session that ended is followed by a new one", "Link opens no other", _one_session),
    Rule("2h", "Silence is judged only after the inbox was drained", "End ticks without draining",
         _undrained, scenarios.a_starved_client_misjudges_nobody),
    Rule("2i", "One's own stall is not the silence of the peer", "Half counts it",
         _self_righteous, scenarios.long_stop),
    Rule("2j", "Both sides tell their state each second", "No half beats",
         _silent_beat, scenarios.a_long_task_breaks_no_session),
    Rule("3a", "A node keeps a silent client for its lease", "Incoming keeps it for 10 s",
         lambda: timed(session.Incoming, lease_s=10.0), scenarios.a_silent_client_is_kept),
    Rule("3b", "After the lease it drops what the client had queued", "Node ignores who has left",
         _homeless, scenarios.a_dead_client_is_dropped),
    Rule("3c", "After the lease it kills what it runs for the client", "Holding kills nobody",
         _lenient, scenarios.a_dead_client_is_dropped),
    Rule("3d", "On a newer session a node drops the queue of the older one", "Node keeps it",
         _hoarder, scenarios.a_queue_does_not_outlive_its_session),
    Rule("3e", "On a newer session a node goes on with what it runs", "Node kills that",
         _impatient_with_newer, scenarios.long_tasks_outlive_a_session),
    Rule("3f", "Results that a closed session had not acknowledged are sent again", "Route drops them",
         _careless_route, scenarios.results_outlive_a_session),
)  # fmt: skip
