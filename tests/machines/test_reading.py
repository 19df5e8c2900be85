"""Reading: functions by value go to nodes of the same Python, and end where no node will ever read them."""

from __future__ import annotations

from tests.machines.test_dispatch import WIDE, History
from zmqtasks.machines.dispatch_moves import (
    Command,
    Finish,
    FinishJob,
    JobClosed,
    JobOpened,
    NodeLost,
    NodeOpened,
    NodesCounted,
    Send,
    TasksAdded,
)
from zmqtasks.messages import OutcomeKind
from zmqtasks.options import TaskOptions


def node(name: str, reader: str = "") -> NodeOpened:
    return NodeOpened(name, 1, WIDE, reader=reader)


def by_value(job: str = "j", reader: str = "3.11") -> JobOpened:
    return JobOpened(job, TaskOptions(), None, reader)


def sends(commands: list[Command]) -> list[Send]:
    return [command for command in commands if isinstance(command, Send)]


def unreadable(job: str, start: int, stop: int) -> Finish:
    return Finish(job, start, stop, OutcomeKind.UNREADABLE)


def test_code_goes_to_nodes_of_the_same_python_and_names_to_all() -> None:
    history = History()
    history(node("old", "3.11"), node("new", "3.12"), node("silent"))
    assert {send.node for send in sends(history(by_value(), TasksAdded("j", 10)))} == {"old", "silent"}
    assert {send.node for send in sends(history(by_value("k", "3.12"), TasksAdded("k", 10)))} == {"new"}
    assert {send.node for send in sends(History()(node("new", "3.12"), by_value("n", ""), TasksAdded("n", 1)))} == {
        "new"
    }


def test_where_all_have_answered_and_none_can_read_it_the_tasks_end() -> None:
    history = History()
    assert history(node("new", "3.12"), by_value(), TasksAdded("j", 10)) == [], "another node may answer"
    assert history(NodesCounted(True)) == [unreadable("j", 0, 10)]
    assert history(TasksAdded("j", 5)) == [unreadable("j", 10, 15)]
    assert history(JobClosed("j")) == [FinishJob("j")]


def test_a_job_that_is_closed_ends_with_its_tasks() -> None:
    history = History()
    history(node("new", "3.12"), by_value(), TasksAdded("j", 1), JobClosed("j"))
    assert history(NodesCounted(True)) == [unreadable("j", 0, 1), FinishJob("j")]


def test_a_job_without_tasks_is_left_alone() -> None:
    assert History()(node("new", "3.12"), by_value(), NodesCounted(True)) == []


def test_who_could_read_it_and_has_gone_is_waited_for() -> None:
    history = History()
    history(node("new", "3.12"), node("old", "3.11"), NodesCounted(True))
    history(NodeLost("old"))
    assert history(by_value(), TasksAdded("j", 10)) == []
    assert {send.node for send in sends(history(node("old", "3.11")))} == {"old"}


def test_nobody_is_judged_before_any_node_has_answered() -> None:
    assert History()(NodesCounted(True), by_value(), TasksAdded("j", 1)) == []
