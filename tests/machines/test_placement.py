"""Where tasks can run: what they ask for, what nodes offer, and what becomes of those that no node can run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.machines.test_dispatch import WIDE, History, cuts
from zmqtasks.machines.dispatch_moves import (
    Cut,
    JobOpened,
    NodeLost,
    NodeOpened,
    Send,
    TasksAdded,
    TellHomeless,
)
from zmqtasks.machines.placement import MOST_REASONS, objection, offer_of
from zmqtasks.messages import Offer
from zmqtasks.options import NodeOptions, TaskOptions

MAIL = TaskOptions(queue="mail")
GPU = TaskOptions(needs={"gpu": 1})  # type: ignore[arg-type]


def a_node(name: str, workers: int = 1, **options: Any) -> NodeOpened:
    return NodeOpened(name, workers, WIDE, offer=offer_of(NodeOptions(**options)))


@pytest.mark.parametrize(
    ("options", "node", "why"),
    [
        ({}, {}, ""),
        ({}, {"queues": ("mail",)}, "it serves the queue mail, not default"),
        ({"queue": "mail"}, {"queues": ("a", "b")}, "it serves the queues a, b, not mail"),
        ({"queue": "mail"}, {"queues": ("default", "mail")}, ""),
        ({"where": {"zone": "a"}}, {"labels": {"zone": "a", "disk": "ssd"}}, ""),
        ({"where": {"zone": "a"}}, {"labels": {"zone": "b"}}, "its zone is b, not a"),
        ({"where": {"zone": "a"}}, {}, "it has no zone"),
        ({"needs": {"gpu": 2}}, {"resources": {"gpu": 2}}, ""),
        ({"needs": {"gpu": 2}}, {"resources": {"gpu": 1.5}}, "it has 1.5 gpu, not 2"),
        ({"needs": {"gpu": 2}}, {}, "it has 0 gpu, not 2"),
    ],
)
def test_what_a_task_asks_for_and_a_node_offers(options: dict[str, Any], node: dict[str, Any], why: str) -> None:
    assert objection(TaskOptions(**options), offer_of(NodeOptions(**node))) == why


def test_tasks_go_only_where_they_fit() -> None:
    history = History()
    history(a_node("plain"), a_node("mail", queues=("mail",)), a_node("both", queues=("mail", "default")))
    history(JobOpened("m", MAIL, 1.0), JobOpened("d", TaskOptions(), 1.0))
    assert {command.node for command in history(TasksAdded("m", 9)) if isinstance(command, Send)} == {"mail", "both"}
    assert [command.node for command in history(TasksAdded("d", 9)) if isinstance(command, Send)] == ["plain"]


def test_a_job_that_nobody_can_run_waits_out_of_turn_and_that_is_told_once() -> None:
    history = History()
    history.job(2, "m", MAIL, 1.0)
    told = TellHomeless("m", ("plain: it serves the queue default, not mail",), 1)
    assert history(a_node("plain")) == [told]
    assert not history.dispatch._book.ready
    assert history(JobOpened("d", TaskOptions(), 1.0), TasksAdded("d", 1)) == [Send("plain", (Cut("d", 1, 0, 1),))]
    assert history(a_node("mail", queues=("mail",))) == [Send("mail", (Cut("m", 2, 0, 1),))]
    assert history(NodeLost("mail")) == [], "told before"
    assert history.dispatch.waiting() == 2
    assert cuts(history(a_node("again", queues=("mail",))))[0].job == "m"


def test_a_job_that_is_opened_later_is_told_of_too_and_of_many_nodes_a_few() -> None:
    history = History()
    history(*(a_node(f"n{number}") for number in range(5)))
    (told,) = history(JobOpened("m", MAIL))
    assert isinstance(told, TellHomeless)
    assert (len(told.reasons), told.nodes) == (MOST_REASONS, 5)
    assert history(TasksAdded("m", 1)) == []


def test_without_any_node_nothing_is_homeless() -> None:
    history = History()
    assert history(JobOpened("m", MAIL), TasksAdded("m", 1)) == []
    history(a_node("plain"))
    assert history(NodeLost("plain")) == []


def test_no_more_goes_to_a_node_than_there_are_resources_for() -> None:
    history = History()
    history.job(9, "g", GPU, 1.0)
    sent = cuts(history(a_node("n", 4, resources={"gpu": 2})))
    assert [cut.job for cut in sent] == ["g", "g"]
    history(JobOpened("d", TaskOptions(), 1.0))
    assert [cut.job for cut in cuts(history(TasksAdded("d", 9)))] == ["d", "d"], "the other workers are free"
    assert [cut.job for cut in cuts(history.settle(sent[0].attempt, 0, 1, each_s=1.0, job="g"))] == ["g"]


def test_who_needs_much_gets_its_turn_among_many_who_need_little() -> None:
    history = History()
    history.job(50, "small", GPU, 1.0)
    sent = cuts(history(a_node("n", 4, resources={"gpu": 2})))
    history(JobOpened("large", TaskOptions(needs={"gpu": 2}), 1.0))  # type: ignore[arg-type]
    assert history(TasksAdded("large", 1)) == []
    order = []
    for _ in range(6):
        cut = sent.pop(0)
        sent += cuts(history.settle(cut.attempt, cut.start, cut.stop, each_s=1.0, job=cut.job))
        order.append(cut.job)
    assert "large" in order


def test_what_is_aboard_of_a_job_that_has_ended_takes_no_resources() -> None:
    history = History()
    history.job(1, "a", GPU, 1.0)
    history(a_node("n", 2, resources={"gpu": 1}))
    del history.dispatch._book.jobs["a"]
    history(JobOpened("b", GPU, 1.0))
    assert [cut.job for cut in cuts(history(TasksAdded("b", 1)))] == ["b"]


def test_the_usual_offer_is_that_of_the_usual_node() -> None:
    assert offer_of(NodeOptions()) == Offer()
