"""Tests of the tests: each rule of the protocol, switched off, is missed by some schedule."""

from __future__ import annotations

import pytest

from tests.simulation.layout import Rules
from tests.simulation.scenarios import executions, long_partition, long_stop, vanishing_node
from tests.simulation.schedules import ScheduleFailed, draw
from zmqtasks.machines import dispatch_moves as moves
from zmqtasks.machines import session
from zmqtasks.machines.accounts import JobAccount
from zmqtasks.machines.collection import Collection, Command, Record, Tell
from zmqtasks.machines.dispatch import Dispatch
from zmqtasks.messages import Outcome, Settled, Status
from zmqtasks.records import replace

SEEDS = 100
"""So many schedules at most until a missing rule is noticed."""


def first_caught(rules: Rules | None = None) -> str:
    """Return what the first schedule that fails says.

    Raises:
        AssertionError: all went well.
    """
    for seed in range(SEEDS):
        try:
            draw(seed, rules).run()
        except ScheduleFailed as failed:
            return failed.summary
    raise AssertionError(f"{SEEDS} schedules without this rule, and none missed it")


class NeverAgain(session.Outgoing):
    """Sends everything once."""

    def tick(self, now: float) -> list[session.Command]:
        return [command for command in super().tick(now) if not isinstance(command, session.Transmit)]

    def _rewind(self, status: Status, now: float) -> list[session.Command]:
        return []


def test_what_is_lost_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Outgoing", NeverAgain)
    assert "it took more than" in first_caught()


def test_silence_ends_a_session() -> None:
    with pytest.raises(AssertionError, match="it took more than"):
        vanishing_node(Rules(timing=replace(session.Timing(), close_s=1e9)))


class NeverPutBack(Dispatch):
    """Forgets what a lost node held."""

    def _put_back(self, job: JobAccount, start: int, stop: int) -> None:
        if stop > job.sent:
            super()._put_back(job, start, stop)


def test_what_a_lost_node_held_goes_to_others() -> None:
    with pytest.raises(AssertionError, match="a task is nowhere"):
        vanishing_node(Rules(dispatch=NeverPutBack))


class Gullible(Collection):
    """Takes every success for the first one."""

    def _receive(self, outcome: Outcome) -> list[Command]:
        told = [command for command in super()._receive(outcome) if isinstance(command, Tell)]
        return [Record(outcome, outcome.start, outcome.stop), *told]


def test_repetitions_are_not_recorded() -> None:
    assert "recorded twice" in first_caught(Rules(collection=Gullible))


class Resentful(Dispatch):
    """Counts every failure, whoever tells of it."""

    def _failed(self, job: JobAccount, said: Settled, held: list[tuple[int, int]], now: float) -> list[moves.Command]:
        return super()._failed(job, said, [(said.start, said.stop)], now)


def test_a_failure_of_a_stale_attempt_does_not_count() -> None:
    assert "failed: {" in first_caught(Rules(dispatch=Resentful))


class Hasty(Dispatch):
    """Does not look at what a node has when it comes back."""

    def _node_opened(self, event: moves.NodeOpened, now: float) -> list[moves.Command]:
        return super()._node_opened(replace(event, have=()), now)


def test_what_a_node_has_is_adopted() -> None:
    assert max(executions(long_partition(Rules(dispatch=Hasty))).values()) > 1


class Stubborn(Dispatch):
    """Runs every task again."""

    def _job_opened(self, event: moves.JobOpened, now: float) -> list[moves.Command]:
        return super()._job_opened(replace(event, options=event.options.replace(retry=True)), now)


def test_an_at_most_once_task_is_not_run_again() -> None:
    assert "at-most-once tasks were begun more than once" in first_caught(Rules(dispatch=Stubborn))


def test_results_are_acknowledged_only_when_they_are_stored() -> None:
    assert "no value is stored" in first_caught(Rules(eager_recorder=True))


def test_ones_own_stall_is_not_the_silence_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session._Half, "_excuse_own_stall", lambda half, now: None)
    with pytest.raises(AssertionError, match="and heard of it"):
        long_stop()
