"""What becomes of tasks that have not begun in time."""

from __future__ import annotations

from tests.machines.test_dispatch import ERROR, OK, RETURNED, WIDE, History
from zmqtasks.machines.dispatch_moves import (
    Cut,
    Deny,
    Finish,
    FinishJob,
    JobClosed,
    JobOpened,
    NodeHeard,
    NodeLost,
    OutcomeSettled,
    Recall,
    Send,
    TasksAdded,
    TasksCancelled,
)
from zmqtasks.messages import Held, OutcomeKind, Phase, Range, Settled
from zmqtasks.options import Moment, TaskOptions

EXPIRED = OutcomeKind.EXPIRED


def an_expiring_job(tasks: int, **options: object) -> History:
    """Return a history with a job of tasks that take a second, and have to begin within two."""
    history = History()
    history.job(tasks, options=TaskOptions(expires=2.0, **options), task_s=1.0)  # type: ignore[arg-type]
    return history


def test_what_waits_ends_when_its_time_is_over() -> None:
    history = an_expiring_job(2)
    history(JobClosed("j"))
    assert history.dispatch.next_deadline() == 2.0
    assert history.at(1.9) == []
    assert history.at(2.0) == [Finish("j", 0, 2, EXPIRED), FinishJob("j")]


def test_each_task_has_its_own_time() -> None:
    history = an_expiring_job(1)
    history.at(1.0)
    history(TasksAdded("j", 1))
    assert history.at(2.0) == [Finish("j", 0, 1, EXPIRED)]
    assert history.at(3.0) == [Finish("j", 1, 2, EXPIRED)]


def test_a_delayed_task_may_expire_before_its_moment() -> None:
    history = an_expiring_job(1, not_before=Moment(9.0))
    assert history.at(2.0) == [Finish("j", 0, 1, EXPIRED)]
    assert history.at(9.0) == []


def test_what_is_aboard_and_not_begun_is_asked_back_and_has_expired_then() -> None:
    history = an_expiring_job(2)
    history.node("n", 2)
    recall = Recall("n", (Range("j", 0, 1), Range("j", 1, 2)))
    assert history.at(2.0) == [recall]
    assert history.settle(1, 0, 1, RETURNED) == [Finish("j", 0, 1, EXPIRED, 1, "n")]
    running = (Held("j", 1, 2, 2, Phase.RUNNING),)
    assert history(NodeHeard("n", 2, WIDE, have=running)) == [Deny("j", 1, 2)], "it was begun in time"
    assert history.settle(2, 1, 2) == [Finish("j", 1, 2, OK, 2, "n")]


def test_what_waits_for_its_next_try_does_not_expire() -> None:
    history = an_expiring_job(1, retries=1, backoff=5.0, jitter=0.0)
    history.node()
    assert history.settle(1, 0, 1, ERROR) == []
    assert history.at(2.0) == []
    assert history.at(5.0) == [Send("n", (Cut("j", 2, 0, 1, 1),))]


def test_what_is_lost_with_its_node_before_it_was_handed_back_has_expired() -> None:
    history = an_expiring_job(1)
    history.node()
    history.at(2.0)
    assert history(NodeLost("n")) == [Finish("j", 0, 1, EXPIRED, 1, "n")]


def test_at_most_once_it_is_lost_then() -> None:
    history = an_expiring_job(1, retry=False)
    history.node()
    history.at(2.0)
    lost = history(NodeLost("n"))
    assert lost == [Deny("j", 0, 1), Finish("j", 0, 1, OutcomeKind.LOST, 1, "n")]


def test_of_what_is_handed_back_only_what_was_late_has_expired() -> None:
    history = an_expiring_job(0)
    history.node("n", 4)
    history(TasksAdded("j", 1))
    history.at(1.0)
    history(TasksAdded("j", 1), JobOpened("k", TaskOptions(), 1.0), TasksAdded("k", 1))
    assert history.at(2.0) == [Recall("n", (Range("j", 0, 1),))]
    assert history.settle(2, 1, 2, RETURNED) == [Send("n", (Cut("j", 4, 1, 2),))]
    assert history.settle(1, 0, 1, RETURNED) == [Finish("j", 0, 1, EXPIRED, 1, "n")]


def test_a_job_that_has_ended_expires_no_more() -> None:
    history = an_expiring_job(1)
    history(JobClosed("j"), TasksCancelled("j", 0, 1))
    assert history.at(2.0) == []


def test_what_hands_itself_back_for_a_while_has_begun_and_does_not_expire() -> None:
    history = an_expiring_job(1)
    history(JobClosed("j"))
    history.node("n", 1)
    said = Settled("j", 1, "n", 0, 1, RETURNED, 0.0, delay_s=5.0)
    assert history(OutcomeSettled(said)) == []
    assert history.at(4.0) == []
    assert history.at(5.0) == [Send("n", (Cut("j", 2, 0, 1),))]
    assert history.settle(2, 0, 1) == [Finish("j", 0, 1, OK, 2, "n"), FinishJob("j")]


def test_what_hands_itself_back_for_a_while_waits_where_nothing_expires() -> None:
    history = History()
    history.job(1, task_s=1.0)
    history.node("n", 1)
    assert history(OutcomeSettled(Settled("j", 1, "n", 0, 1, RETURNED, 0.0, delay_s=5.0))) == []
    assert history.at(5.0) == [Send("n", (Cut("j", 2, 0, 1),))]
