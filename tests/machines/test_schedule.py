"""Schedule: moments in their order, and tasks of a ventilator that wait for theirs."""

from __future__ import annotations

from tests.machines.driving import within
from tests.machines.test_dispatch import CRASHED, RETURNED, WIDE, History, cuts
from zmqtasks.machines.dispatch_moves import (
    Cut,
    DoubtsEnded,
    Finish,
    JobClosed,
    JobOpened,
    NodeHeard,
    NodeOpened,
    NodeSuspected,
    Send,
    TasksAdded,
    TasksCancelled,
    TasksDoubted,
)
from zmqtasks.machines.schedule import NEVER, Due, Schedule
from zmqtasks.options import HIGH, Moment, TaskOptions


def test_nothing_is_due_at_first() -> None:
    schedule = Schedule()
    assert not schedule
    assert schedule.next_deadline() == NEVER
    assert schedule.to_begin(1e9) == schedule.to_expire(1e9) == schedule.begins_of("j") == []


def test_moments_come_in_their_order_and_once() -> None:
    schedule = Schedule()
    for at, job, start in ((3.0, "j", 0), (1.0, "k", 5), (2.0, "j", 7)):
        schedule.begin(at, job, start, start + 1)
    schedule.expire(0.5, "j", 0, 9)
    assert repr(schedule) == "<Schedule 3 to begin, 1 to expire>"
    assert schedule.next_deadline() == 0.5
    assert schedule.to_expire(0.5) == [Due(0.5, "j", 0, 9)]
    assert schedule.next_deadline() == 1.0
    assert sorted(schedule.begins_of("j")) == [Due(2.0, "j", 7, 8), Due(3.0, "j", 0, 1)]
    assert schedule.to_begin(2.0) == [Due(1.0, "k", 5, 6), Due(2.0, "j", 7, 8)]
    assert schedule.to_begin(2.9) == []
    assert schedule.to_begin(3.0) == [Due(3.0, "j", 0, 1)]
    assert not schedule


# In a ventilator --------------------------------------------------------------------------------------------------


def test_tasks_wait_for_their_delay_and_count_as_waiting() -> None:
    history = History()
    history.job(2, options=TaskOptions(delay=5.0), task_s=0.001)
    assert history.node() == []
    assert (history.dispatch.waiting(), history.dispatch.next_deadline()) == (2, 5.0)
    assert history.at(4.9) == []
    assert history(TasksAdded("j", 1)) == [], "each task waits from its own submission on"
    assert history.at(5.0) == [Send("n", (Cut("j", 1, 0, 2),))]
    assert history.at(9.9) == [Send("n", (Cut("j", 2, 2, 3),))]


def test_a_moment_holds_for_all_tasks_of_a_job_and_one_that_is_past_for_none() -> None:
    history = History()
    history.node()
    history(JobOpened("j", TaskOptions(not_before=Moment(7.0), delay=1.0), 0.001))
    assert history(TasksAdded("j", 1)) == []
    history.at(6.5)
    assert history(TasksAdded("j", 1)) == []
    assert history.at(7.0) == [Send("n", (Cut("j", 1, 0, 1),))]
    assert history.at(7.5) == [Send("n", (Cut("j", 2, 1, 2),))], "the later of the two counts"
    history(JobOpened("k", TaskOptions(not_before=Moment(7.0)), 0.001))
    assert history(TasksAdded("k", 1)) == [Send("n", (Cut("k", 3, 0, 1),))]


def test_who_has_waited_for_its_moment_goes_before_what_came_later() -> None:
    history = History()
    history.job(1, options=TaskOptions(delay=1.0), task_s=1.0)
    history.job(5, "k", task_s=1.0)
    assert history.node() == [Send("n", (Cut("k", 1, 0, 1),))]
    assert history.at(1.0) == [], "the worker is busy"
    assert history.settle(1, 0, 1, each_s=1.0, job="k")[-1] == Send("n", (Cut("k", 2, 1, 2),)), (
        "k came into line before"
    )
    assert history.settle(2, 1, 2, each_s=1.0, job="k")[-1] == Send("n", (Cut("j", 3, 0, 1),)), (
        "and then it is the turn of j"
    )


def test_a_delayed_task_that_is_cancelled_never_begins() -> None:
    history = History()
    history.job(2, options=TaskOptions(delay=5.0), task_s=0.001)
    history.node()
    history(TasksCancelled("j", 0, 1))
    assert history.at(5.0) == [Send("n", (Cut("j", 1, 1, 2),))]


def test_after_a_resume_delayed_tasks_that_nobody_has_wait_for_their_delay() -> None:
    history = History()
    history(JobOpened("j", TaskOptions(delay=5.0), 0.001), TasksDoubted("j", 0, 2), TasksAdded("j", 2))
    history(NodeOpened("n", 1, WIDE))
    assert history(DoubtsEnded("j")) == []
    assert history.at(5.0) == [Send("n", (Cut("j", 1, 0, 2),))]


def test_after_a_resume_what_has_waited_long_enough_meanwhile_is_sent() -> None:
    history = History()
    history(JobOpened("j", TaskOptions(delay=1.0), 0.001), TasksDoubted("j", 0, 2), TasksAdded("j", 2))
    history.node()
    assert history.at(2.0) == []
    assert history(DoubtsEnded("j")) == [Send("n", (Cut("j", 1, 0, 2),))]


def test_the_latest_of_high_priority_goes_first_whatever_its_job() -> None:
    history = History()
    history.job(9, "normal", task_s=1.0)
    history.job(2, "a", TaskOptions(priority=HIGH), task_s=1.0)
    history.job(2, "b", TaskOptions(priority=HIGH), task_s=1.0)
    assert history.node() == [Send("n", (Cut("b", 1, 1, 2),))]
    assert history(TasksAdded("a", 1)) == []
    order = []
    attempt, (job, at) = 1, ("b", 1)
    for _ in range(5):
        ((job, attempt, at, *_),) = cuts(history.settle(attempt, at, at + 1, each_s=1.0, job=job))
        order.append((job, at))
    assert order == [("a", 2), ("a", 1), ("a", 0), ("b", 0), ("normal", 0)]


def test_short_tasks_of_high_priority_travel_together_the_latest_chunk_first() -> None:
    history = History()
    history.job(100, options=TaskOptions(priority=HIGH), task_s=0.001)
    assert [(cut.start, cut.stop) for cut in cuts(history.node())] == [(98, 100), (96, 98), (94, 96)]


def test_of_high_priority_what_has_killed_a_worker_is_alone_in_its_chunk() -> None:
    history = History()
    history.job(4, options=TaskOptions(priority=HIGH), task_s=0.001)
    assert [(cut.start, cut.stop) for cut in cuts(history.node())] == [(2, 4), (0, 2)]
    assert [(cut.start, cut.stop) for cut in cuts(history.settle(1, 3, 4, CRASHED))] == [(3, 4)]
    history(NodeSuspected("n"))
    history.settle(1, 2, 3, RETURNED)
    history.settle(3, 3, 4, CRASHED)
    assert [(cut.start, cut.stop) for cut in cuts(history(NodeHeard("n", 1, WIDE)))] == [(2, 3), (3, 4)]


def test_long_run_of_50_000_tasks_with_a_moment_each() -> None:
    schedule = Schedule()
    with within(10.0):
        for index in range(50_000):
            schedule.begin(float(index * 7919 % 50_000), "j", index, index + 1)
        found = [due.at for second in range(0, 50_001, 100) for due in schedule.to_begin(float(second))]
    assert found == sorted(found)
    assert len(found) == 50_000


def test_a_job_that_has_ended_leaves_moments_that_do_no_harm() -> None:
    history = History()
    history.job(1, options=TaskOptions(delay=5.0))
    history(JobClosed("j"))
    assert [c for c in history(TasksCancelled("j", 0, 1)) if isinstance(c, Finish)] == []
    assert history.dispatch.jobs() == ()
    assert history.at(5.0) == []
