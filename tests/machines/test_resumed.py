"""Dispatch in a later life: what is recorded is not run, what may run elsewhere waits for the nodes' word."""

from __future__ import annotations

from zmqtasks.machines.dispatch import Dispatch
from zmqtasks.machines.dispatch_moves import (
    CancelRequested,
    Command,
    Cut,
    DoubtsEnded,
    Event,
    Finish,
    FinishJob,
    JobClosed,
    JobOpened,
    NodeLost,
    NodeOpened,
    OutcomeMissed,
    OutcomeSettled,
    Restore,
    Send,
    TasksAdded,
    TasksDoubted,
    TasksRecorded,
)
from zmqtasks.messages import Held, OutcomeKind, Phase, Range, Settled, Window
from zmqtasks.options import MIB, TaskOptions

WIDE = Window(1_000_000, 1024 * MIB)
OK, LOST, RETURNED = OutcomeKind.OK, OutcomeKind.LOST, OutcomeKind.RETURNED


class Life:
    """A dispatch whose attempts begin at 100, with a job of long tasks; checked after each event."""

    def __init__(self, *, retry: bool = True) -> None:
        self.machine = Dispatch(first_attempt=100)
        self.options = TaskOptions(retry=retry)

    def tell(self, *events: Event) -> list[Command]:
        commands: list[Command] = []
        for event in events:
            commands += self.machine.handle(event, 1.0)
            self.machine.check()
        return commands

    def open(self) -> list[Command]:
        return self.tell(JobOpened("j", self.options))


def running(attempt: int, start: int, stop: int, phase: Phase = Phase.RUNNING) -> Held:
    return Held("j", start, stop, attempt, phase)


def said(attempt: int, start: int, stop: int, kind: OutcomeKind = OK) -> Settled:
    return Settled("j", attempt, "n", start, stop, kind, 1.0)


def test_what_is_recorded_is_restored_and_never_sent() -> None:
    life = Life()
    life.open()
    assert life.tell(TasksRecorded("j", 0, 3)) == [Restore("j", 0, 3)]
    assert life.tell(TasksRecorded("j", 2, 4)) == [Restore("j", 3, 4)]
    assert life.tell(TasksAdded("j", 5), NodeOpened("n", 1, WIDE)) == [Send("n", (Cut("j", 100, 4, 5),))]
    assert life.tell(OutcomeSettled(said(100, 4, 5)), JobClosed("j"))[-1] == FinishJob("j")
    assert life.tell(TasksRecorded("j", 0, 1), TasksDoubted("j", 0, 1), DoubtsEnded("j")) == []


def test_what_runs_since_an_earlier_life_is_adopted_however_its_job_comes() -> None:
    life = Life()
    have = (running(7, 0, 2), running(8, 2, 6, Phase.FINISHED), running(9, 6, 8, Phase.QUEUED))
    life.tell(NodeOpened("n", 2, WIDE, have))
    life.open()
    # One attempt of the earlier life is added in two steps.
    assert life.tell(TasksDoubted("j", 0, 4), TasksAdded("j", 4)) == []
    assert life.tell(TasksDoubted("j", 4, 8), TasksAdded("j", 4)) == []
    assert (life.machine.aboard(), life.machine.waiting()) == (6, 2)
    assert [life.machine.is_aboard(attempt) for attempt in (7, 8, 9)] == [True, True, False]
    assert life.tell(OutcomeSettled(said(8, 2, 6))) == [Finish("j", 2, 6, OK, 8, "n")]
    life.tell(OutcomeSettled(said(7, 0, 2)))
    # The nodes have answered: what was only queued there is sent again, under a new attempt.
    assert life.tell(DoubtsEnded("j")) == [Send("n", (Cut("j", 100, 6, 7), Cut("j", 101, 7, 8)))]
    assert life.tell(DoubtsEnded("j")) == []


def test_a_node_that_answers_later_is_heard_as_well() -> None:
    life = Life()
    life.open()
    life.tell(TasksDoubted("j", 0, 4), TasksAdded("j", 4), NodeOpened("m", 1, WIDE))
    assert life.tell(NodeOpened("n", 1, WIDE, (running(7, 0, 3),))) == []
    assert life.tell(DoubtsEnded("j")) == [Send("m", (Cut("j", 100, 3, 4),))]
    # Two nodes claim one attempt: the first has it.
    assert life.tell(NodeOpened("o", 1, WIDE, (running(7, 0, 3),))) == []
    assert Cut("j", 101, 0, 1) in life.tell(NodeLost("n"))[0].cuts  # type: ignore[union-attr]


def test_what_a_node_told_before_the_tasks_came_is_not_expected_of_it_any_more() -> None:
    life = Life()
    life.tell(NodeOpened("n", 1, WIDE, (running(7, 0, 4),)))
    life.open()
    assert life.tell(OutcomeMissed(said(7, 0, 2, RETURNED)), OutcomeMissed(said(6, 0, 9))) == []
    life.tell(TasksDoubted("j", 0, 4), TasksAdded("j", 4))
    assert (life.machine.aboard(), life.machine.waiting()) == (2, 2)


def test_at_most_once_what_nobody_knows_of_is_lost_and_never_run() -> None:
    life = Life(retry=False)
    life.tell(NodeOpened("n", 2, WIDE, (running(7, 1, 2),)))
    life.open()
    assert life.tell(TasksDoubted("j", 0, 4), TasksAdded("j", 6)) == [Send("n", (Cut("j", 100, 4, 5),))]
    assert life.tell(CancelRequested((Range("j", 0, 4),)))  # only the one that runs can be asked for
    lost = [Finish("j", 0, 1, LOST), Finish("j", 2, 4, LOST)]
    assert [c for c in life.tell(DoubtsEnded("j")) if isinstance(c, Finish)] == lost
    assert life.machine.waiting() == 1


def test_what_is_in_doubt_can_be_cancelled_where_it_may_run_again() -> None:
    life = Life()
    life.open()
    life.tell(TasksDoubted("j", 0, 4), TasksAdded("j", 4))
    assert life.tell(CancelRequested((Range("j", 1, 3),))) == [Finish("j", 1, 3, RETURNED)]
    assert life.tell(NodeOpened("n", 1, WIDE), DoubtsEnded("j"))
