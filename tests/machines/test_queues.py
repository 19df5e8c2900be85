"""The queues of a ventilator: how much waits, what is held, what can be taken out."""

from __future__ import annotations

from tests.machines.test_dispatch import WIDE, History, cuts
from zmqtasks.machines.dispatch_moves import DoubtsEnded, JobOpened, NodeOpened, QueueHeld, TasksAdded, TasksDoubted
from zmqtasks.messages import Offer, Range
from zmqtasks.options import TaskOptions

MAIL = TaskOptions(queue="mail")


def test_what_is_aboard_is_not_in_the_queue_any_more_and_what_is_delayed_only_if_asked_for() -> None:
    history = History()
    queues = history.dispatch.queues
    history.job(5, task_s=1.0)
    history.job(3, "later", TaskOptions(delay=5.0))
    history.job(2, "other", MAIL)
    history(JobOpened("doubted", TaskOptions()), TasksDoubted("doubted", 0, 4), TasksAdded("doubted", 4))
    assert [queues.length("default", delayed=delayed) for delayed in (False, True)] == [9, 12]
    assert queues.length("mail", delayed=True) == 2
    assert queues.length("unknown", delayed=True) == 0
    history.node("n", 2)
    history(DoubtsEnded("doubted"))
    assert queues.length("default", delayed=False) == 7
    assert queues.all("default") == [Range("j", 0, 5), Range("later", 0, 3), Range("doubted", 0, 4)]


def test_nothing_is_sent_of_a_queue_that_is_held_until_it_goes_on() -> None:
    history = History()
    history.job(2, "m", MAIL, 0.001)
    assert history(QueueHeld("default", True), QueueHeld("mail", True)) == []
    history(JobOpened("d", TaskOptions(), 0.001), TasksAdded("d", 1))
    assert history(NodeOpened("n", 1, WIDE, offer=Offer(("default", "mail")))) == []
    assert history.dispatch.queues.held() == ["default", "mail"]
    assert repr(history.dispatch.queues) == "<Queues held=['default', 'mail']>"
    assert [cut.job for cut in cuts(history(QueueHeld("default", False)))] == ["d"]
    history(TasksAdded("m", 1))
    assert [history.dispatch.queues.waiting("mail"), history.dispatch.waiting()] == [[Range("m", 0, 3)], 3]


def test_the_first_in_line_are_those_of_the_highest_priority() -> None:
    history = History()
    for name, priority in (("a", 0), ("b", 5), ("c", 0)):
        history.job(2, name, TaskOptions(priority=priority))
    assert history.dispatch.queues.waiting("default") == [Range("b", 0, 2), Range("a", 0, 2), Range("c", 0, 2)]
