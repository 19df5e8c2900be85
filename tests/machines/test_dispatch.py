"""Dispatch: histories, then a mesh of nodes that take, run, crash, lose, return and come back; and what size costs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.machines.driving import SEEDS, within
from zmqtasks.errors import LocalProtocolError
from zmqtasks.machines.absence import Missing
from zmqtasks.machines.accounts import (
    BACKLOG_S,
    CHUNK_BYTES,
    CHUNK_S,
    GROWTH,
    TOLD,
    UNSEEN,
    UNWEIGHED_TASKS,
)
from zmqtasks.machines.blame import LONGEST_BACKOFF_S, LOSSES_UNTIL_ALONE_ON_NODE, Blame
from zmqtasks.machines.dispatch import Dispatch
from zmqtasks.machines.dispatch_moves import (
    UNKNOWN_ATTEMPT,
    CancelRequested,
    CancelWithdrawn,
    Command,
    Cut,
    Deny,
    Encoded,
    EncodingFailed,
    Event,
    Finish,
    FinishJob,
    Inquire,
    JobClosed,
    JobOpened,
    NodeHeard,
    NodeLost,
    NodeOpened,
    NodeSuspected,
    OutcomeSettled,
    Recall,
    Send,
    TasksAdded,
    TasksCancelled,
)
from zmqtasks.messages import Flight, Held, OutcomeKind, Phase, Range, Settled, Window
from zmqtasks.options import MIB, TaskOptions

WIDE = Window(1_000_000, 1024 * MIB)
ONCE = TaskOptions(retry=False)
OK, ERROR, CRASHED, RETURNED = OutcomeKind.OK, OutcomeKind.ERROR, OutcomeKind.CRASHED, OutcomeKind.RETURNED
RETRY, LOST = OutcomeKind.RETRY, OutcomeKind.LOST


class History:
    """A dispatch that is told events and checked after each; time moves only by `at`."""

    def __init__(self, dispatch: Dispatch | None = None) -> None:
        self.dispatch = dispatch or Dispatch()
        self.now = 0.0

    def __call__(self, *events: Event) -> list[Command]:
        commands: list[Command] = []
        for event in events:
            commands += self.dispatch.handle(event, self.now)
            self.dispatch.check()
        return commands

    def at(self, now: float) -> list[Command]:
        self.now = now
        commands = self.dispatch.tick(now)
        self.dispatch.check()
        return commands

    def job(self, tasks: int, job: str = "j", options: TaskOptions | None = None, task_s: float | None = None) -> None:
        """Open a job and add tasks, before there is any node."""
        assert self(JobOpened(job, options or TaskOptions(), task_s), TasksAdded(job, tasks)) == []

    def node(self, node: str = "n", workers: int = 1, window: Window = WIDE, *have: Held) -> list[Command]:
        return self(NodeOpened(node, workers, window, have))

    def dies(self, node: str = "n") -> list[Command]:
        """Let a node die that has told what it runs."""
        aboard = [a for a in self.dispatch._book.assignments.values() if a.node == node]
        running = [Held(a.job, *part, a.attempt, Phase.RUNNING) for a in aboard for part in a.remaining]
        account = self.dispatch._book.nodes[node]
        self(NodeHeard(node, account.workers, account.window, account.open, tuple(running)))
        return self(NodeLost(node, died=True))

    def settle(
        self, attempt: int, start: int, stop: int, kind: OutcomeKind = OK, each_s: float = 0.001, job: str = "j"
    ) -> list[Command]:
        elapsed_s = each_s * (stop - start)
        return self(OutcomeSettled(Settled(job, attempt, "n", start, stop, kind, elapsed_s)))


def cuts(commands: list[Command]) -> list[Cut]:
    return [cut for command in commands if isinstance(command, Send) for cut in command.cuts]


def ended(commands: list[Command]) -> list[Command]:
    return [command for command in commands if not isinstance(command, Send)]


# Jobs -------------------------------------------------------------------------------------------------------------


def test_a_job_from_its_opening_to_its_end() -> None:
    history = History()
    assert history(JobOpened("j", TaskOptions()), NodeOpened("node-1", 1, WIDE)) == []
    assert history(TasksAdded("j", 2)) == [Send("node-1", (Cut("j", 1, 0, 1),))]
    assert history.dispatch.has_ready()
    book = "<Book jobs=[j 0/2 waiting={1..2}] nodes=[node-1 1 aboard]>"
    assert repr(history.dispatch) == f"<Dispatch {book} <Wishes [] stray={{}}>>"
    assert history(JobClosed("j")) == []
    assert history.settle(1, 0, 1) == [Finish("j", 0, 1, OK, 1, "n"), Send("node-1", (Cut("j", 2, 1, 2),))]
    assert (history.dispatch.waiting(), history.dispatch.aboard()) == (0, 1)
    assert not history.dispatch.has_ready()
    *commands, last = history.settle(2, 1, 2)
    assert [*commands, last] == [Finish("j", 1, 2, OK, 2, "n"), FinishJob("j")]
    assert isinstance(last, FinishJob)
    assert last.task_s == 0.001
    assert history.dispatch.jobs() == ()
    assert history.dispatch.next_deadline() == float("inf")
    assert repr(history.dispatch) == "<Dispatch <Book jobs=[] nodes=[node-1 0 aboard]> <Wishes [] stray={}>>"


def test_an_empty_job_ends_when_it_is_closed() -> None:
    history = History()
    history.job(0)
    assert history.dispatch.jobs() == ("j",)
    assert history(JobClosed("j")) == [FinishJob("j")]


def test_a_ventilator_that_resumes_numbers_on_and_skips_what_is_done() -> None:
    history = History(Dispatch(first_attempt=100))
    history.job(3)
    assert history(OutcomeSettled(Settled("j", 0, "", 0, 2, OK, 0.0))) == [Finish("j", 0, 2, OK, 0, "")]
    assert history.node() == [Send("n", (Cut("j", 100, 2, 3),))]


def test_what_a_sink_has_of_tasks_that_are_added_later_is_not_sent() -> None:
    history = History()
    history(JobOpened("j", TaskOptions()), OutcomeSettled(Settled("j", 0, "", 1, 3, OK, 0.0)))
    history.node()
    assert history(TasksAdded("j", 4)) == [Send("n", (Cut("j", 1, 0, 1),))]
    assert history.settle(1, 0, 1)[1:] == [Send("n", (Cut("j", 2, 3, 4),))]


@pytest.mark.parametrize(
    "event",
    [
        JobOpened("j", TaskOptions()),
        TasksAdded("other", 1),
        JobClosed("other"),
        NodeOpened("n", 1, WIDE),
        NodeHeard("other", 1, WIDE),
        NodeSuspected("other"),
        NodeLost("other"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_illegal_moves(event: Event) -> None:
    history = History()
    history.job(1)
    history.node()
    with pytest.raises(LocalProtocolError, match=rf"{type(event).__name__}: \w+ is .*<Dispatch <Book jobs=\[j 0/1 "):
        history(event)


def test_a_closed_job_takes_no_more_tasks() -> None:
    history = History()
    history.job(1)
    history(JobClosed("j"))
    for event in (TasksAdded("j", 1), JobClosed("j")):
        with pytest.raises(LocalProtocolError, match=f"{type(event).__name__}: j is not open"):
            history(event)


# Sizes ------------------------------------------------------------------------------------------------------------


def sizes_of(history: History, workers: int, each_s: float, rounds: int) -> list[int]:
    """Let nodes answer in order, and return the sizes of the chunks they got."""
    commands = history.node(workers=workers)
    sizes = []
    pending: list[Cut] = []
    for _ in range(rounds):
        pending += cuts(commands)
        if not pending:
            break
        cut = pending.pop(0)
        sizes.append(cut.stop - cut.start)
        commands = history(Encoded(cut.attempt, 10 * sizes[-1]))
        commands += history.settle(cut.attempt, cut.start, cut.stop, each_s=each_s)
    return sizes


def test_an_unknown_function_starts_with_one_task_and_grows_fast_to_about_20_ms() -> None:
    history = History()
    history.job(1_000_000)
    sizes = sizes_of(history, 1, 1e-6, 200)
    assert sizes[0] == 1
    assert list(dict.fromkeys(sizes))[:3] == [1, GROWTH, GROWTH**2]
    assert max(sizes) * 1e-6 == pytest.approx(CHUNK_S, rel=0.01)
    assert sizes.index(max(sizes)) < 15, "it takes few messages to get there"


def test_a_function_of_an_earlier_job_starts_with_a_few_and_is_weighed_before_it_gets_more() -> None:
    history = History()
    history.job(1_000_000, task_s=1e-6)
    sizes = sizes_of(history, 1, 1e-6, 200)
    assert list(dict.fromkeys(sizes))[:3] == [UNWEIGHED_TASKS, GROWTH * UNWEIGHED_TASKS, GROWTH**2 * UNWEIGHED_TASKS]
    assert max(sizes) == pytest.approx(20_000, abs=2)
    assert sizes.index(max(sizes)) < 15


def test_chunks_shrink_towards_the_end_so_that_all_workers_end_together() -> None:
    history = History()
    history.job(20_000)
    history(JobClosed("j"))
    sizes = sizes_of(history, 4, 1e-4, 10_000)
    assert sum(sizes) == 20_000
    assert max(sizes) == 200
    tail = sizes[sizes.index(200) :]
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(tail))
    assert min(tail[:-1]) * 1e-4 == pytest.approx(0.001, rel=0.1), "but they stay worth their message"


def test_of_long_tasks_each_worker_gets_one() -> None:
    history = History()
    history.job(100, task_s=2.0)
    assert [c.stop - c.start for c in cuts(history.node(workers=3))] == [1, 1, 1]
    assert history.settle(1, 0, 1, each_s=2.0)[1:] == [Send("n", (Cut("j", 4, 3, 4),))]


def test_of_short_chunks_a_worker_has_one_running_one_ahead_and_one_on_the_way() -> None:
    history = History()
    history.job(1_000_000, task_s=1e-6)
    assert [c.stop - c.start for c in cuts(history.node(workers=2))] == [2] * 6, "however short"
    history = History()
    history.job(1_000, task_s=CHUNK_S)
    assert len(cuts(history.node(workers=2))) == 6 == 2 * BACKLOG_S / CHUNK_S


@pytest.mark.parametrize("task_s", [60.0, None], ids=["long", "unknown"])
def test_one_long_or_unknown_task_leaves_the_other_workers_of_its_node_busy(task_s: float | None) -> None:
    history = History()
    history.job(1, "long", task_s=task_s)
    history.node(workers=4)
    history(JobOpened("short", TaskOptions(), 1e-5), TasksAdded("short", 10_000_000))
    for _ in range(20):
        for attempt in sorted(history.dispatch._book.assignments):
            held = history.dispatch._book.assignments[attempt]
            if held.job == "short":
                for start, stop in list(held.remaining):
                    history.settle(attempt, start, stop, each_s=1e-5, job="short")
    aboard = [a for a in history.dispatch._book.assignments.values() if a.job == "short"]
    assert len(aboard) == 9, "three chunks for each of the other three"


def test_large_arguments_make_small_chunks() -> None:
    history = History()
    history.job(10_000, task_s=1e-6)
    cut = cuts(history.node(workers=1))[0]
    history(Encoded(cut.attempt, 2 * 300 * 1024))
    for _ in range(30):
        attempt = min(history.dispatch._book.assignments)
        ((start, stop),) = history.dispatch._book.assignments[attempt].remaining
        assert (stop - start) * 300 * 1024 <= CHUNK_BYTES
        got = cuts(history.settle(attempt, start, stop, each_s=1e-6))
        history(*(Encoded(c.attempt, (c.stop - c.start) * 300 * 1024) for c in got))
    assert stop - start == 3


def test_a_task_that_raises_is_measured_like_any_other() -> None:
    history = History()
    history.job(100_000)
    history.node()
    for _ in range(60):
        attempt = min(history.dispatch._book.assignments)
        ((start, stop),) = history.dispatch._book.assignments[attempt].remaining
        history(Encoded(attempt, 10 * (stop - start)))
        for index in range(start, stop):
            history.settle(attempt, index, index + 1, ERROR, each_s=1e-4)
    assert history.dispatch._book.jobs["j"].task_s == pytest.approx(1e-4, rel=1e-3)
    assert stop - start > 100, "a job in which all fails is no reason to send its tasks one by one"


def test_a_chunk_in_which_a_worker_died_does_not_make_the_next_ones_larger() -> None:
    history = History()
    history.job(1_000, task_s=1e-5)
    history.dispatch._book.jobs["j"].proven = 1
    assert {cut.stop - cut.start for cut in cuts(history.node())} == {2}
    history(Encoded(1, 20))
    history.settle(1, 0, 1, CRASHED)
    assert cuts(history.settle(1, 1, 2, each_s=1e-5)) == [Cut("j", 4, 0, 1)], "again, and alone"
    assert [c.stop - c.start for c in cuts(history.settle(4, 0, 1, each_s=1e-5))] == [GROWTH]
    assert [c.stop - c.start for c in cuts(history.settle(2, 2, 4, each_s=1e-5))] == [2 * GROWTH]


def test_while_more_tasks_may_come_chunks_shrink_less() -> None:
    sizes = {}
    for closed in (False, True):
        history = History()
        history.job(1_000, task_s=1e-4)
        history.dispatch._book.jobs["j"].task_bytes = 10.0
        history.dispatch._book.jobs["j"].proven = 1_000
        history(*[JobClosed("j")] * closed)
        sizes[closed] = [cut.stop - cut.start for cut in cuts(history.node(workers=8))]
    assert sizes[False][0] == 1_000 // 8
    assert sizes[True][0] == 1_000 // 16


def test_what_a_sink_repeats_is_not_measured() -> None:
    history = History()
    history.job(10)
    history.node()
    history.settle(1, 0, 1, each_s=1.0)
    history(OutcomeSettled(Settled("j", 0, "", 0, 1, OK, 0.0)), OutcomeSettled(Settled("j", 1, "n", 0, 1, OK, 9.0)))
    assert history.dispatch._book.jobs["j"].task_s == 1.0


def test_the_measure_follows_a_change_within_seconds() -> None:
    history = History()
    history.job(1_000, task_s=1.0)
    history.node()
    for attempt in range(1, 21):
        history.settle(attempt, attempt - 1, attempt, each_s=0.1 if attempt < 10 else 0.5)
    assert history.dispatch._book.jobs["j"].task_s == pytest.approx(0.5, rel=0.05)


# Windows ----------------------------------------------------------------------------------------------------------


def test_no_more_tasks_than_the_window_allows() -> None:
    history = History()
    history.job(1_000, task_s=1e-6)
    history.node(workers=8, window=Window(3, MIB))
    assert history.dispatch.aboard() == 3
    history(NodeHeard("n", 8, Window(5, MIB)))
    assert history.dispatch.aboard() == 5
    assert history(NodeHeard("n", 8, Window(0, MIB))) == []
    assert cuts(history.settle(1, 0, 2, each_s=1e-6)) == []
    history.node("closed", 8, Window(0, 0))
    assert history.dispatch.aboard() == 3


def test_no_more_bytes_than_the_window_allows_once_a_task_has_been_weighed() -> None:
    history = History()
    history.job(1_000, task_s=1e-5)
    first = cuts(history.node(workers=1, window=Window(1_000, 100_000)))
    history(*(Encoded(cut.attempt, 40_000 * (cut.stop - cut.start)) for cut in first))
    held = {cut.attempt: cut for cut in first}
    for _ in range(20):
        attempt, cut = next(iter(held.items()))
        del held[attempt]
        for more in cuts(history.settle(attempt, cut.start, cut.stop, each_s=1e-5)):
            history(Encoded(more.attempt, 40_000 * (more.stop - more.start)))
            held[more.attempt] = more
            assert history.dispatch.aboard() * 40_000 <= 100_000
    assert history.dispatch.aboard() == 2


def test_an_empty_node_takes_a_task_however_large() -> None:
    history = History()
    history.job(3)
    assert cuts(history.node(window=Window(10, 1000))) == [Cut("j", 1, 0, 1)]
    history(Encoded(1, 5_000))
    assert cuts(history.settle(1, 0, 1)) == [Cut("j", 2, 1, 2)]


# Nodes ------------------------------------------------------------------------------------------------------------


def test_work_goes_where_least_is_waiting() -> None:
    history = History()
    history.node("a", 1)
    history.node("b", 4)
    history(JobOpened("j", TaskOptions()))
    assert history(TasksAdded("j", 9)) == [
        Send("a", (Cut("j", 1, 0, 1),)),
        Send("b", (Cut("j", 2, 1, 2), Cut("j", 3, 2, 3), Cut("j", 4, 3, 4), Cut("j", 5, 4, 5))),
    ]


def test_a_suspected_or_draining_node_gets_nothing_new() -> None:
    history = History()
    history.node()
    assert history(NodeSuspected("n"), JobOpened("j", TaskOptions()), TasksAdded("j", 1)) == []
    assert history(NodeHeard("n", 1, WIDE, open=False)) == []
    assert history(NodeHeard("n", 1, WIDE)) == [Send("n", (Cut("j", 1, 0, 1),))]


def test_what_was_aboard_a_lost_node_goes_to_another() -> None:
    history = History()
    history.job(3)
    history.node("a", 2)
    history.node("b", 1, Window(0, 0))
    assert history(NodeLost("a", died=True)) == []
    assert history(NodeHeard("b", 3, WIDE)) == [Send("b", (Cut("j", 3, 0, 1), Cut("j", 4, 1, 2), Cut("j", 5, 2, 3)))]


def test_an_at_most_once_task_ends_with_its_node() -> None:
    history = History()
    history.job(2, options=ONCE)
    history(JobClosed("j"))
    history.node("n", 2)
    history.settle(1, 0, 1, RETURNED)
    assert history.dispatch.aboard() == 2, "handed back unstarted: it may be sent again"
    assert history(NodeLost("n")) == [
        Finish("j", 1, 2, OutcomeKind.LOST, 2, "n"),
        Finish("j", 0, 1, OutcomeKind.LOST, 3, "n"),
        FinishJob("j"),
    ]


def test_what_still_runs_on_a_node_that_comes_back_is_not_run_again() -> None:
    history = History()
    history.job(6, task_s=1.0)
    history.node("n", 6)
    history(NodeLost("n"))
    have = (
        Held("j", 0, 1, 1, Phase.FINISHED),
        Held("j", 1, 2, 1, Phase.RUNNING),
        Held("j", 3, 4, 4, Phase.RUNNING),
        Held("j", 4, 5, 5, Phase.QUEUED),
        Held("other", 0, 9, 5, Phase.RUNNING),
    )
    commands = history.node("n", 6, WIDE, *have)
    assert cuts(commands) == [Cut("j", 7, 2, 3), Cut("j", 8, 4, 5), Cut("j", 9, 5, 6)]
    assert history.dispatch.aboard() == 6
    assert history.settle(1, 0, 2) == [Finish("j", 0, 2, OK, 1, "n")]
    assert history.settle(4, 3, 4, ERROR) == [Finish("j", 3, 4, ERROR, 4, "n")]


def test_what_went_elsewhere_or_was_never_sent_is_not_adopted() -> None:
    history = History()
    history.job(3, task_s=1.0)
    history.node("a", 1)
    history(NodeLost("a"))
    history.node("b", 1)
    have = (Held("j", 0, 1, 1, Phase.RUNNING), Held("j", 0, 1, 2, Phase.RUNNING), Held("j", 1, 3, 9, Phase.RUNNING))
    assert history.node("a", 1, WIDE, *have) == [Send("a", (Cut("j", 3, 1, 2),))]
    assert history.settle(1, 0, 1) == [Finish("j", 0, 1, OK, 1, "n")], "first success wins, whatever the attempt"
    assert history.settle(2, 0, 1, CRASHED) == [Send("b", (Cut("j", 4, 2, 3),))]


def test_of_two_attempts_at_one_task_the_later_one_is_adopted() -> None:
    history = History()
    history.job(1)
    history(JobClosed("j"))
    history.node()
    assert history.settle(1, 0, 1, CRASHED) == [Send("n", (Cut("j", 2, 0, 1),))]
    history(NodeLost("n"))
    have = (Held("j", 0, 1, 1, Phase.FINISHED), Held("j", 0, 1, 2, Phase.FINISHED))
    assert history.node("n", 1, WIDE, *have) == []
    assert history.settle(2, 0, 1) == [Finish("j", 0, 1, OK, 2, "n"), FinishJob("j")]
    assert history.dispatch.aboard() == 0, "of the first attempt nothing comes any more"


def test_what_a_node_told_the_end_of_between_two_sessions_is_not_adopted() -> None:
    history = History()
    history.job(2, options=TaskOptions(retries=1))
    history(JobClosed("j"))
    history.node("n", 2)
    history(NodeLost("n"))
    assert history.settle(1, 0, 1, CRASHED) == [], "nobody has it: the task waits to be sent again in any case"
    have = (Held("j", 0, 1, 1, Phase.FINISHED), Held("j", 1, 2, 2, Phase.RUNNING))
    assert history.node("n", 2, WIDE, *have) == [Send("n", (Cut("j", 3, 0, 1),))]
    history.settle(2, 1, 2)
    assert history.settle(3, 0, 1) == [Finish("j", 0, 1, OK, 3, "n"), FinishJob("j")]


def test_a_failure_that_is_told_again_in_a_new_session_counts_once() -> None:
    history = History()
    history.job(1, options=TaskOptions(retries=1))
    history(JobClosed("j"))
    history.node()
    assert history.settle(1, 0, 1, ERROR) == [Send("n", (Cut("j", 2, 0, 1, 1),))]
    history(NodeLost("n"))
    have = Held("j", 0, 1, 1, Phase.FINISHED)
    assert history.node("n", 1, WIDE, have) == [Send("n", (Cut("j", 3, 0, 1, 1),))], "the second attempt never arrived"
    assert history.settle(1, 0, 1, ERROR) == []
    assert history.settle(3, 0, 1) == [Finish("j", 0, 1, OK, 3, "n"), FinishJob("j")]


def test_attempts_that_failed_are_forgotten_once_their_tasks_have_ended() -> None:
    history = History()
    history.job(10_000, options=TaskOptions(retries=1))
    history.node("n", 1)
    with within(5.0):
        for index in range(10_000):
            history.settle(2 * index + 1, index, index + 1, ERROR)
            history.settle(2 * index + 2, index, index + 1)
    assert len(history.dispatch._book.jobs["j"].told) <= 2 * TOLD


# Outcomes ---------------------------------------------------------------------------------------------------------


def test_a_failure_is_tried_again_while_there_are_retries() -> None:
    history = History()
    history.job(1, options=TaskOptions(retries=1))
    history(JobClosed("j"))
    history.node()
    assert history.settle(1, 0, 1, ERROR) == [Send("n", (Cut("j", 2, 0, 1, 1),))]
    assert history.settle(2, 0, 1, ERROR) == [Finish("j", 0, 1, ERROR, 2, "n"), FinishJob("j")]


def test_a_task_that_asks_for_it_is_run_again_after_its_delay_and_no_later() -> None:
    history = History()
    history.job(1, options=TaskOptions(retries=2, backoff=50.0, retry=False))
    history(JobClosed("j"))
    history.node()
    assert history(OutcomeSettled(Settled("j", 1, "n", 0, 1, RETRY, 0.001, 1.5))) == []
    assert history.dispatch.next_deadline() == 1.5
    assert history.at(1.5) == [Send("n", (Cut("j", 2, 0, 1, 1),))]
    assert history(OutcomeSettled(Settled("j", 1, "n", 0, 1, RETRY, 0.001, 9.0))) == [], "told twice, heard once"
    assert history.settle(2, 0, 1, RETRY) == [Send("n", (Cut("j", 3, 0, 1, 2),))]
    assert history.settle(3, 0, 1, RETRY) == [Finish("j", 0, 1, OutcomeKind.EXHAUSTED, 3, "n"), FinishJob("j")]


@pytest.mark.parametrize("retry", [True, False])
def test_a_task_that_hands_itself_back_for_a_while_waits_and_that_does_not_count(retry: bool) -> None:
    history = History()
    history.job(1, options=TaskOptions(retries=1, retry=retry, expires=1.0))
    history.node()
    assert history(OutcomeSettled(Settled("j", 1, "n", 0, 1, RETURNED, 0.001, 1.5))) == []
    assert history.at(1.4) == [], "it has begun in time"
    assert history.at(1.5) == [Send("n", (Cut("j", 2, 0, 1),))]


def test_without_retries_a_task_may_ask_as_often_as_it_likes() -> None:
    history = History()
    history.job(1)
    history.node()
    for attempt in range(1, 50):
        assert history.settle(attempt, 0, 1, RETRY) == [Send("n", (Cut("j", attempt + 1, 0, 1, attempt),))]


def test_a_retry_waits_for_its_backoff() -> None:
    history = History()
    history.job(1, options=TaskOptions(retries=2, backoff=1.5, jitter=0.0))
    history.node()
    assert history.settle(1, 0, 1, ERROR) == []
    assert (history.dispatch.waiting(), history.dispatch.next_deadline()) == (1, 1.5)
    assert history.at(1.4) == []
    assert history.at(1.5) == [Send("n", (Cut("j", 2, 0, 1, 1),))]
    assert history.settle(2, 0, 1, ERROR) == []
    assert history.dispatch.next_deadline() == 4.5
    assert history.settle(1, 0, 1) == [Finish("j", 0, 1, OK, 1, "n")], "a success of an earlier attempt came late"
    assert history.dispatch.waiting() == 0
    assert history.at(4.5) == []
    history(JobClosed("j"))
    assert history.dispatch.next_deadline() == float("inf")


def test_a_failure_counts_only_from_the_attempt_that_holds_the_task() -> None:
    history = History()
    history.job(4, task_s=0.001)
    history.node()
    history.settle(1, 0, 2, RETURNED)
    assert history.settle(1, 0, 2, ERROR) == []
    assert history.settle(99, 0, 1, ERROR) == []
    assert ended(history(OutcomeSettled(Settled("gone", 1, "n", 0, 1, ERROR, 0.0)))) == []
    assert history.dispatch.waiting() + history.dispatch.aboard() == 4


def test_part_of_what_is_told_may_be_held_no_more() -> None:
    history = History()
    history.job(2, task_s=0.0001, options=TaskOptions(retries=5))
    assert cuts(history.node()) == [Cut("j", 1, 0, 2)]
    assert cuts(history.settle(1, 0, 1, RETURNED)) == [Cut("j", 2, 0, 1)]
    assert cuts(history.settle(1, 0, 2, ERROR)) == [Cut("j", 3, 1, 2, 1)], "task 0 is held by attempt 2"


def test_what_a_sink_has_under_an_attempt_it_does_not_know_is_taken_off_all() -> None:
    history = History()
    history.job(6, task_s=1e-4)
    history(JobClosed("j"))
    assert cuts(history.node("n", 1)) == [Cut("j", 1, 0, 2), Cut("j", 2, 2, 4), Cut("j", 3, 4, 6)]
    stored = Settled("j", UNKNOWN_ATTEMPT, "", 1, 4, OK, 0.0)
    assert history(OutcomeSettled(stored)) == [Finish("j", 1, 4, OK, 0, "")]
    assert history.dispatch.aboard() == 3
    assert history.settle(2, 2, 4) == [], "the node tells of them after all"
    assert history.settle(1, 0, 2) == [Finish("j", 0, 1, OK, 1, "n")]
    assert history(OutcomeSettled(stored._replace(start=0, stop=6)))[-1] == FinishJob("j")
    assert history(OutcomeSettled(stored)) == []
    assert history.dispatch.aboard() == 0


def test_a_crashed_task_is_run_alone_and_spares_its_neighbours() -> None:
    history = History()
    history.job(1_000, task_s=1e-4)
    history.node()
    for _ in range(8):
        attempt = min(history.dispatch._book.assignments)
        ((start, stop),) = history.dispatch._book.assignments[attempt].remaining
        history.settle(attempt, start, stop, each_s=1e-4)
    attempt = min(history.dispatch._book.assignments)
    ((start, stop),) = history.dispatch._book.assignments[attempt].remaining
    history.settle(attempt, start, start + 1, CRASHED)
    assert cuts(history.settle(attempt, start + 1, stop, each_s=1e-4))[0][2:4] == (start, start + 1)


def test_handing_back_never_counts() -> None:
    history = History()
    history.job(1, options=ONCE)
    history.node()
    for attempt in range(1, 50):
        assert history.settle(attempt, 0, 1, RETURNED) == [Send("n", (Cut("j", attempt + 1, 0, 1),))]


@pytest.mark.parametrize("options", [TaskOptions(), ONCE], ids=["retry", "once"])
def test_what_a_node_has_no_more_and_nobody_told_of_is_asked_for(options: TaskOptions) -> None:
    history = History()
    history.job(2, task_s=1.0, options=options)
    assert cuts(history.node("n", 2)) == [Cut("j", 1, 0, 1), Cut("j", 2, 1, 2)]
    running = (Held("j", 1, 2, 2, Phase.RUNNING),)
    assert history(NodeHeard("n", 2, WIDE, have=running, progress=(1, 1))) == []
    assert history(NodeHeard("n", 2, WIDE, have=running)) == [], "it is told of what it acknowledges"
    heard = NodeHeard("n", 2, WIDE, have=running, progress=(1, 1))
    assert history(heard) == [Inquire((Missing("j", 1, 0, 1),))]
    missing = OutcomeSettled(Settled("j", 1, "ventilator", 0, 1, RETURNED, 0.0))
    again: Command = Send("n", (Cut("j", 3, 0, 1),)) if options.retry else Finish("j", 0, 1, LOST, 1, "ventilator")
    assert history(missing) == [again]
    assert history(missing) == []
    assert history.settle(2, 1, 2) == [Finish("j", 1, 2, OK, 2, "n")]


def test_a_task_that_kills_node_after_node_ends() -> None:
    history = History()
    history.job(1)
    history(JobClosed("j"))
    for attempt in (1, 2):
        assert cuts(history.node()) == [Cut("j", attempt, 0, 1)]
        assert history.dies() == []
    history.node()
    assert history.dies() == [
        Finish("j", 0, 1, OutcomeKind.NODE_KILLER, 3, "n"),
        FinishJob("j"),
    ]


def test_only_a_node_that_died_with_one_task_gives_a_strike() -> None:
    history = History()
    history.job(2, task_s=1.0)
    verdicts = []
    for workers, died in ((1, False), (1, False), (2, True), (1, True), (1, True), (1, True)):
        history.node("n", workers)
        verdicts.append(ended(history.dies() if died else history(NodeLost("n"))))
    assert verdicts == [[]] * 5 + [[Finish("j", 0, 1, OutcomeKind.NODE_KILLER, 7, "n")]]


def with_flight(history: History, node: str, dead: str, *begun: Held, workers: int = 1) -> list[Command]:
    return history(NodeOpened(node, workers, WIDE, (), Flight(dead, begun)))


def test_where_a_flight_recorder_speaks_the_charge_is_left_with_what_ran() -> None:
    """Others are aboard each time; one of them kills the node, and three deaths later it is known for it."""
    history = History()
    history.job(30, task_s=0.0001)
    history(JobClosed("j"))
    sent, ends, node, deaths = cuts(history.node("n0")), [], "n0", 0
    ledger = history.dispatch._book.jobs["j"].ledger
    while sent and not ends:
        killing = [cut.attempt for cut in sent if cut.start <= 7 < cut.stop]
        if not killing:
            sent = [cut for done in sent for cut in cuts(history.settle(done.attempt, done.start, done.stop))]
            continue
        deaths += 1
        ends = ended(history.dies(node))
        node, dead = f"n{deaths}", node
        said = with_flight(history, node, dead, Held("j", 7, 8, killing[0], Phase.RUNNING))
        assert {ledger.rungs(index) for index in range(30) if index != 7} == {0}
        sent = cuts(said)
    assert deaths == 3
    assert ends == [Finish("j", 7, 8, OutcomeKind.NODE_KILLER, killing[0], "n2")]


def test_the_charge_is_right_after_the_tasks_went_elsewhere() -> None:
    """The other node has run them, or runs them, by the time the recorder speaks; one death is one strike."""
    history = History()
    history.job(3, task_s=0.01)
    history.node("a", 1)
    history.dies("a")
    history.node("b", 1)
    ledger = history.dispatch._book.jobs["j"].ledger
    assert repr(ledger) == "<Ledger tries={} crashes={} strikes={} losses=[{0..3}, {}, {}, {}]>"
    history.settle(2, 0, 1)
    with_flight(history, "a2", "a", Held("j", 0, 2, 1, Phase.RUNNING))
    with_flight(history, "a3", "a", Held("j", 0, 2, 1, Phase.RUNNING))
    assert repr(ledger) == "<Ledger tries={} crashes={} strikes={1: 1} losses=[{1..2}, {1..2}, {}, {}]>"


def test_a_third_strike_ends_a_task_that_is_aboard_elsewhere_before_it_kills_that_node_too() -> None:
    history = History()
    history.job(1)
    for name in ("a", "b"):
        history.node(name)
        history.dies(name)
    history.node("c")
    history(NodeLost("c", died=False))
    assert cuts(history.node("d")) == [Cut("j", 4, 0, 1)]
    assert with_flight(history, "c2", "c", Held("j", 0, 1, 3, Phase.RUNNING)) == [
        Recall("d", (Range("j", 0, 1),), True),
        Finish("j", 0, 1, OutcomeKind.NODE_KILLER, 3, "c"),
    ]


def test_a_strike_is_taken_back_from_what_had_not_begun_or_was_not_alone() -> None:
    for begun in ((), (Held("j", 0, 1, 1, Phase.RUNNING), Held("other:1", 0, 1, 1, Phase.RUNNING))):
        history = History()
        history.job(1)
        history.node("a")
        history.dies("a")
        ledger = history.dispatch._book.jobs["j"].ledger
        assert (ledger.rungs(0), ledger.care(0)) == (2, Blame.CHUNK_ALONE)
        with_flight(history, "b", "a", *begun)
        assert (ledger.rungs(0), ledger.care(0)) == (len(begun) // 2, Blame.NONE)


def test_a_strike_that_was_known_at_once_is_not_counted_again() -> None:
    history = History()
    history.job(1)
    history.node("a")
    history.dies("a")
    with_flight(history, "b", "a", Held("j", 0, 1, 1, Phase.RUNNING))
    assert "strikes={0: 1}" in repr(history.dispatch._book.jobs["j"].ledger)


def test_a_job_that_has_ended_leaves_no_charges() -> None:
    history = History()
    history.job(1)
    history(JobClosed("j"))
    history.node("a")
    history(NodeLost("a", died=True))
    history.node("b")
    history.settle(2, 0, 1)
    assert with_flight(history, "c", "a", Held("j", 0, 1, 1, Phase.RUNNING)) == []


@pytest.mark.parametrize("phase", [Phase.FINISHED, None])
def test_a_node_that_dies_after_it_has_ended_its_task_or_without_it_gives_no_strike(phase: Phase | None) -> None:
    history = History()
    history.job(1)
    for attempt in range(1, 10):
        history.node()
        have = () if phase is None else (Held("j", 0, 1, attempt, phase),)
        for _ in range(UNSEEN):
            history(NodeHeard("n", 1, WIDE, have=have))
        assert history(NodeLost("n", died=True)) == []


@pytest.mark.parametrize("have", [(), (Held("j", 0, 1, 3, Phase.RUNNING), Held("j", 0, 1, 3, Phase.FINISHED))])
def test_a_node_that_dies_before_it_can_tell_what_it_has_gives_a_strike(have: tuple[Held, ...]) -> None:
    history = History()
    history.job(1)
    for _ in range(2):
        history.node()
        history.dies()
    history.node()
    for _ in range(UNSEEN - 1):
        history(NodeHeard("n", 1, WIDE, have=()))
    history(NodeHeard("n", 1, WIDE), NodeHeard("n", 1, WIDE, have=have))
    killed = history(NodeLost("n", died=True))
    assert [c.kind for c in killed if isinstance(c, Finish)] == ([OutcomeKind.NODE_KILLER] if have else [])


def test_a_strike_weighs_half_where_nobody_told_that_the_task_arrived() -> None:
    history = History()
    history.job(1)
    kinds = []
    for _ in range(6):
        history.node()
        kinds.append([c.kind for c in history(NodeLost("n", died=True)) if isinstance(c, Finish)])
    assert kinds == [[]] * 5 + [[OutcomeKind.NODE_KILLER]], "who kills before anything is told ends as well"


def test_half_a_strike_is_made_whole_by_a_flight_recorder_or_taken_back() -> None:
    for begun, told in (((Held("j", 0, 1, 1, Phase.RUNNING),), "strikes={0: 1.0}"), ((), "strikes={}")):
        history = History()
        history.job(1)
        history.node("a")
        history(NodeLost("a", died=True))
        assert "strikes={0: 0.5}" in repr(history.dispatch._book.jobs["j"].ledger)
        with_flight(history, "b", "a", *begun)
        assert told in repr(history.dispatch._book.jobs["j"].ledger)


def suspicious(history: History, job: str, losses: int) -> None:
    """Open a job whose first task was aboard so many lost nodes."""
    history.job(1, job, task_s=0.001)
    for _ in range(losses):
        history.node("lost", 1)
        history(NodeLost("lost"))


def test_a_suspicious_task_has_a_node_for_itself() -> None:
    history = History()
    suspicious(history, "bad", LOSSES_UNTIL_ALONE_ON_NODE)
    assert len(cuts(history.node("n", 4))) == 1
    assert history(JobOpened("good", TaskOptions()), TasksAdded("good", 1)) == []
    assert cuts(history.node("m", 4)) == [Cut("good", 6, 0, 1)]
    assert history.settle(5, 0, 1, job="bad") == [Finish("bad", 0, 1, OK, 5, "n")]
    assert history(TasksAdded("good", 1)) == [Send("n", (Cut("good", 7, 1, 2),))]


def test_a_suspicious_task_gets_its_turn_though_other_jobs_keep_all_nodes_busy() -> None:
    history = History()
    suspicious(history, "bad", LOSSES_UNTIL_ALONE_ON_NODE)
    history(NodeOpened("a", 1, Window(0, 0)), NodeOpened("b", 1, Window(0, 0)))
    history(JobOpened("good", TaskOptions(priority=1), 0.02), TasksAdded("good", 10_000))
    history(NodeHeard("a", 1, WIDE), NodeHeard("b", 1, WIDE))
    history(JobOpened("peer", TaskOptions(), 0.02), TasksAdded("peer", 10_000))
    history(TasksCancelled("good", 0, 10_000))
    sent: list[Cut] = []
    for _ in range(50):
        attempt = min(history.dispatch._book.assignments)
        held = history.dispatch._book.assignments[attempt]
        ((start, stop),) = held.remaining
        sent += cuts(history.settle(attempt, start, stop, each_s=0.02, job=held.job))
        if any(cut.job == "bad" for cut in sent):
            break
    assert sent[-1].job == "bad"
    assert {cut.job for cut in sent[:-1]} <= {"peer"}
    node = history.dispatch._book.nodes[history.dispatch._book.assignments[sent[-1].attempt].node]
    assert node.tasks == 1


def test_the_node_that_is_kept_free_may_be_lost() -> None:
    history = History()
    suspicious(history, "bad", LOSSES_UNTIL_ALONE_ON_NODE)
    history(JobOpened("good", TaskOptions(priority=1), 1.0), TasksAdded("good", 2))
    history.node("a", 1)
    history.node("b", 1)
    history(NodeHeard("a", 2, WIDE), NodeLost("a"))
    assert cuts(history.settle(6, 1, 2, job="good"))[0].job == "good"
    assert cuts(history.settle(7, 0, 1, job="good")) == [Cut("bad", 8, 0, 1)]


def test_the_neighbours_of_a_suspicious_task_go_on() -> None:
    history = History()
    suspicious(history, "bad", LOSSES_UNTIL_ALONE_ON_NODE)
    history.job(1, "long", task_s=60.0, options=TaskOptions(priority=1))
    history.node("a", 1)
    history.node("b", 0)
    history.job(0, "busy", options=TaskOptions(priority=2))
    history(TasksAdded("busy", 1), NodeHeard("b", 1, WIDE), NodeHeard("a", 3, WIDE))
    assert history.dispatch.waiting() == 1
    got = cuts(history(TasksAdded("bad", 1), NodeHeard("b", 3, WIDE)))
    assert got == [Cut("bad", 7, 1, 2)], "on the node that is not kept free"
    assert history(JobOpened("more", TaskOptions()), TasksAdded("more", 1)) == [Send("b", (Cut("more", 8, 0, 1),))]
    history(NodeSuspected("a"), NodeHeard("b", 3, WIDE))
    assert history(TasksAdded("more", 1)) == [], "now the other one is kept free"


# Cancelling -------------------------------------------------------------------------------------------------------


def test_cancelled_tasks_are_taken_back_or_never_sent() -> None:
    history = History()
    history.job(10, task_s=1.0)
    history.node("n", 2)
    assert history(TasksCancelled("j", 1, 4), TasksCancelled("j", 8, 9)) == [Recall("n", (Range("j", 1, 2),))]
    assert history.dispatch.waiting() == 5
    assert cuts(history.settle(2, 1, 2, RETURNED)) == [Cut("j", 3, 4, 5)]
    assert history(TasksCancelled("gone", 0, 1)) == []
    sent = [
        cut for attempt in range(3, 8) for cut in cuts(history.settle(attempt, attempt + 1, attempt + 2, each_s=1.0))
    ]
    assert [cut.start for cut in sent] == [5, 6, 7, 9]


def test_cancelling_what_is_left_ends_a_closed_job() -> None:
    history = History()
    history.job(3, task_s=1.0)
    history(JobClosed("j"))
    history.node("n", 1)
    assert history(TasksCancelled("j", 0, 3)) == [Recall("n", (Range("j", 0, 1),)), FinishJob("j")]
    assert history.dispatch.aboard() == 1
    assert history.settle(1, 0, 1, RETURNED) == []
    assert history.dispatch.aboard() == 0


def test_what_is_aboard_for_a_job_that_has_ended_is_lost_in_silence() -> None:
    history = History()
    history.job(1)
    history.node()
    history(JobClosed("j"), TasksCancelled("j", 0, 1))
    assert history(Encoded(1, 10), NodeLost("n", died=True)) == []


def test_a_cancelled_retry_is_forgotten() -> None:
    history = History()
    history.job(1, options=TaskOptions(retries=1, backoff=60.0))
    history.node()
    history.settle(1, 0, 1, ERROR)
    history(TasksCancelled("j", 0, 1))
    assert history.dispatch.waiting() == 0
    assert history.at(60.0) == []


# Taking back ------------------------------------------------------------------------------------------------------


def want_back(history: History, *parts: tuple[int, int], job: str = "j") -> list[Command]:
    return history(CancelRequested(tuple(Range(job, *part) for part in parts)))


def test_what_waits_is_cancelled_at_once_and_what_is_aboard_when_it_is_handed_back() -> None:
    history = History()
    history.job(10, task_s=1.0)
    history.node("n", 2)
    assert want_back(history, (1, 4), (8, 9)) == [
        Finish("j", 2, 4, RETURNED),
        Finish("j", 8, 9, RETURNED),
        Recall("n", (Range("j", 1, 2),)),
    ]
    assert history.settle(2, 1, 2, RETURNED) == [Finish("j", 1, 2, RETURNED, 2, "n"), Send("n", (Cut("j", 3, 4, 5),))]
    assert want_back(history, (0, 1), job="gone") == []
    assert history.settle(2, 1, 2, RETURNED) == []


def test_a_retry_that_waits_is_cancelled() -> None:
    history = History()
    history.job(1, options=TaskOptions(retries=1, backoff=60.0))
    history.node()
    history(JobClosed("j"))
    history.settle(1, 0, 1, ERROR)
    assert want_back(history, (0, 1)) == [Finish("j", 0, 1, RETURNED), FinishJob("j")]
    assert history.at(60.0) == []


def test_a_node_is_reminded_until_the_task_is_told_of() -> None:
    history = History()
    history.job(1)
    history.node()
    want_back(history, (0, 1))
    for _ in range(3):
        assert history.at(history.dispatch.next_deadline()) == [Recall("n", (Range("j", 0, 1),))]
    history(JobClosed("j"))
    assert history.settle(1, 0, 1, RETURNED) == [Finish("j", 0, 1, RETURNED, 1, "n"), FinishJob("j")]
    assert history.at(history.dispatch.next_deadline()) == []
    assert history.dispatch.next_deadline() == float("inf")


@pytest.mark.parametrize("kind", [OK, ERROR, CRASHED])
def test_a_task_that_was_begun_is_denied_and_ends_as_ever(kind: OutcomeKind) -> None:
    history = History()
    history.job(1)
    history.node()
    want_back(history, (0, 1))
    said = history.settle(1, 0, 1, kind)
    assert said[0] == Deny("j", 0, 1)
    assert (said[1] == Finish("j", 0, 1, kind, 1, "n")) == (kind is not CRASHED)


def test_what_a_worker_has_is_denied_and_goes_elsewhere_if_it_is_handed_back_after_all() -> None:
    history = History()
    history.job(2, task_s=1.0)
    history.node("n", 2)
    want_back(history, (0, 2))
    assert history(NodeHeard("n", 2, WIDE)) == []
    have = (Held("j", 0, 1, 1, Phase.RUNNING), Held("j", 1, 2, 2, Phase.QUEUED))
    assert history(NodeHeard("n", 2, WIDE, have=have)) == [Deny("j", 0, 1)]
    assert history.settle(1, 0, 1, RETURNED) == [Send("n", (Cut("j", 3, 0, 1),))]


def test_a_wish_that_was_withdrawn_changes_nothing() -> None:
    history = History()
    history.job(1)
    history.node()
    want_back(history, (0, 1))
    assert history(CancelWithdrawn((Range("j", 0, 1),))) == []
    assert history.settle(1, 0, 1, RETURNED) == [Send("n", (Cut("j", 2, 0, 1),))]


def test_what_was_wanted_back_of_a_lost_node_is_cancelled_unless_it_may_run_only_once() -> None:
    history = History()
    history.job(1)
    history.job(1, "once", ONCE)
    history.node("n", 2)
    history(CancelRequested((Range("j", 0, 1), Range("once", 0, 1))))
    assert history(NodeLost("n")) == [
        Finish("j", 0, 1, RETURNED, 1, "n"),
        Deny("once", 0, 1),
        Finish("once", 0, 1, OutcomeKind.LOST, 2, "n"),
    ]
    assert history.dispatch.next_deadline() == float("inf")


def test_a_killed_task_has_ended_and_its_node_is_reminded_until_it_has_it_no_more() -> None:
    history = History()
    history.job(1)
    history.node()
    history(JobClosed("j"))
    kill = Recall("n", (Range("j", 0, 1),), kill=True)
    assert history(TasksCancelled("j", 0, 1, kill=True)) == [kill, FinishJob("j")]
    assert history.at(1.0) == [kill]
    assert history(NodeHeard("n", 1, WIDE, have=(Held("j", 0, 1, 1, Phase.RUNNING),))) == []
    assert history(NodeLost("n")) == []
    # The session broke; the node did not.
    history.node("n", 1, WIDE, Held("j", 0, 1, 1, Phase.RUNNING))
    assert history.at(1.0) == [kill]
    assert history(NodeHeard("n", 1, WIDE, have=())) == []
    assert history.at(5.0) == []
    assert history.dispatch.next_deadline() == float("inf")


def test_tasks_that_ended_when_a_map_was_left_are_not_denied_to_anybody() -> None:
    history = History()
    history.job(2)
    history.node()
    history(TasksCancelled("j", 0, 1))
    assert history(NodeHeard("n", 1, WIDE, have=(Held("j", 0, 1, 1, Phase.RUNNING),))) == []
    want = history.dispatch
    history(TasksCancelled("j", 1, 2), JobClosed("j"))
    assert not want.jobs()
    assert history.settle(1, 0, 1) == []


def test_long_run_of_20_000_tasks_taken_back_one_by_one() -> None:
    with within(10.0):
        dispatch = Dispatch()
        dispatch.handle(JobOpened("j", TaskOptions(), 1e-6), 0.0)
        dispatch.handle(TasksAdded("j", 20_000), 0.0)
        dispatch.handle(NodeOpened("n", 4, WIDE), 0.0)
        for index in range(20_000):
            dispatch.handle(CancelRequested((Range("j", index, index + 1),)), 0.0)
        dispatch.check()
    assert dispatch.waiting() == 0


# Encoding ---------------------------------------------------------------------------------------------------------


def test_a_task_that_cannot_be_encoded_makes_room_at_the_next_tick() -> None:
    history = History()
    history.job(3)
    history(JobClosed("j"))
    history.node()
    for attempt in (1, 2):
        assert history(Encoded(attempt, 0), EncodingFailed(attempt, attempt - 1, attempt)) == []
        assert history.dispatch.next_deadline() == 0.0
        assert cuts(history.at(0.0)) == [Cut("j", attempt + 1, attempt, attempt + 1)]
    assert history.dispatch.next_deadline() == float("inf")
    assert history(EncodingFailed(3, 2, 3)) == [FinishJob("j")]
    assert history(EncodingFailed(3, 2, 3), Encoded(3, 10)) == []


def test_encoding_may_fail_for_a_job_that_was_cancelled_meanwhile() -> None:
    history = History()
    history.job(1)
    history.node()
    history(JobClosed("j"), TasksCancelled("j", 0, 1))
    assert history(EncodingFailed(1, 0, 1)) == []
    assert history.dispatch.aboard() == 0


# Turns ------------------------------------------------------------------------------------------------------------


def test_jobs_of_one_priority_take_turns_and_a_higher_one_goes_first() -> None:
    history = History()
    for job, priority in (("a", 0), ("b", 0), ("urgent", 5)):
        history.job(2, job, task_s=1.0, options=TaskOptions(priority=priority))
    assert [cut.job for cut in cuts(history.node("n", 6))] == ["urgent", "urgent", "a", "b", "a", "b"]


def test_no_trace_is_left_of_priorities_that_were_used() -> None:
    history = History()
    history.node()
    for priority in range(100):
        history(JobOpened("j", TaskOptions(priority=priority)), TasksAdded("j", 1), JobClosed("j"))
        assert history.settle(priority + 1, 0, 1)[-1] == FinishJob("j")
    assert not history.dispatch._book.ready


# A mesh -----------------------------------------------------------------------------------------------------------


@dataclass
class Piece:
    """What a node has of one cut: tasks that have not ended there."""

    cut: Cut
    left: list[int]
    with_worker: bool = False


@dataclass
class Node:
    workers: int
    window: Window
    pieces: list[Piece] = field(default_factory=list)
    up: bool = True


@dataclass
class Mesh:
    """Jobs, nodes and a sink around a dispatch; keeps its own account of every task."""

    dice: random.Random
    dispatch: Dispatch = field(default_factory=Dispatch)
    now: float = 0.0
    calm: bool = False
    options: dict[str, TaskOptions] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)
    ends: dict[tuple[str, int], str] = field(default_factory=dict)
    sent: set[tuple[str, int]] = field(default_factory=set)
    nodes: dict[str, Node] = field(default_factory=dict)
    told: list[Settled] = field(default_factory=list)
    begun: set[tuple[int, int]] = field(default_factory=set)
    """Attempt and index of what was begun on nodes that were not lost since."""
    wanted: set[tuple[str, int]] = field(default_factory=set)
    """What was asked for, and neither denied nor withdrawn."""

    def do(self, event: Event) -> None:
        self.carry_out(self.dispatch.handle(event, self.now))

    def carry_out(self, commands: list[Command]) -> None:
        self.dispatch.check()
        for command in commands:
            match command:
                case Send(node, chosen):
                    assert self.dispatch._book.nodes[node].tasks <= self.nodes[node].window.tasks
                    for cut in chosen:
                        self.take(self.nodes[node], cut)
                case Deny(job, start, stop):
                    assert all((job, index) in self.wanted for index in range(start, stop))
                    self.wanted -= {(job, index) for index in range(start, stop)}
                case Finish(job, start, stop, kind, attempt):
                    for index in range(start, stop):
                        if kind is RETURNED:
                            assert (job, index) in self.wanted
                            assert (attempt, index) not in self.begun, "cancelled, and it was begun"
                        self.end(job, index, kind.name)
                case Recall(node, ranges, kill):
                    assert self.nodes[node].up
                    self.recall(self.nodes[node], ranges, kill=kill)
                case FinishJob(job):
                    assert job in self.closed
                    assert job not in self.over
                    assert all((job, index) in self.ends for index in range(self.totals[job]))
                    self.over.add(job)
        self.dispatch.check()

    def end(self, job: str, index: int, how: str) -> None:
        assert (job, index) not in self.ends, f"{job}[{index}] ended as {self.ends[job, index]} and as {how}"
        self.ends[job, index] = how

    def take(self, node: Node, cut: Cut) -> None:
        assert node.up
        tasks = [(cut.job, index) for index in range(cut.start, cut.stop)]
        assert tasks
        assert not any(task in self.ends for task in tasks), "nothing is sent that has ended"
        if not self.options[cut.job].retry:
            assert not any(task in self.sent for task in tasks), "at most once is never sent twice"
            self.sent.update(tasks)
        node.pieces.append(Piece(cut, [index for _, index in tasks]))
        self.do(Encoded(cut.attempt, 100 * len(tasks)))
        if not self.calm and self.dice.random() < 0.03:
            bad = self.dice.randrange(cut.start, cut.stop)
            self.drop(node, cut.attempt, [bad])
            if (cut.job, bad) not in self.ends:
                self.end(cut.job, bad, "UNENCODABLE")
            self.do(EncodingFailed(cut.attempt, bad, bad + 1))

    def drop(self, node: Node, attempt: int, indices: list[int]) -> None:
        for piece in node.pieces:
            if piece.cut.attempt == attempt:
                piece.left = [index for index in piece.left if index not in indices]
        node.pieces = [piece for piece in node.pieces if piece.left]

    def recall(self, node: Node, ranges: tuple[Range, ...], *, kill: bool) -> None:
        for piece in [piece for piece in node.pieces if kill or not piece.with_worker]:
            for range_ in ranges:
                hit = [i for i in piece.left if range_.job == piece.cut.job and range_.start <= i < range_.stop]
                if hit and self.dice.random() < 0.7:
                    self.hand_back(node, piece, hit)

    def hand_back(self, node: Node, piece: Piece, indices: list[int]) -> None:
        self.drop(node, piece.cut.attempt, indices)
        self.sent -= {(piece.cut.job, index) for index in indices}
        for index in indices:
            self.tell(piece.cut, index, index + 1, RETURNED)

    def tell(self, cut: Cut, start: int, stop: int, kind: OutcomeKind) -> None:
        self.told.append(Settled(cut.job, cut.attempt, "n", start, stop, kind, 0.003 * (stop - start)))

    # What happens

    def open_job(self) -> None:
        job = f"p:{len(self.options)}"
        retry = self.dice.random() < 0.7
        self.options[job] = TaskOptions(
            retries=self.dice.choice([0, 2]),
            backoff=self.dice.choice([0.0, 1.0]),
            retry=retry,
            priority=self.dice.choice([0, 0, 1]),
        )
        self.totals[job] = 0
        self.do(JobOpened(job, self.options[job], self.dice.choice([None, 0.001, 5.0])))

    def add_tasks(self) -> None:
        if job := self.pick([job for job in self.options if job not in self.closed]):
            number = self.dice.choice([1, 3, 40])
            self.totals[job] += number
            self.do(TasksAdded(job, number))

    def close_job(self) -> None:
        if job := self.pick([job for job in self.options if job not in self.closed]):
            self.closed.add(job)
            self.do(JobClosed(job))

    def cancel(self) -> None:
        if job := self.pick([job for job in self.options if job not in self.over and self.totals[job]]):
            start = self.dice.randrange(self.totals[job])
            stop = min(self.totals[job], start + self.dice.choice([1, 5, 50]))
            for index in range(start, stop):
                self.ends.setdefault((job, index), "CANCELLED")
            self.do(TasksCancelled(job, start, stop, self.dice.random() < 0.4))

    def want_back(self) -> None:
        if job := self.pick([job for job in self.options if job not in self.over and self.totals[job]]):
            starts = [self.dice.randrange(self.totals[job]) for _ in range(self.dice.choice([1, 3]))]
            ranges = tuple(Range(job, a, min(self.totals[job], a + self.dice.choice([1, 5, 50]))) for a in starts)
            tasks = {(job, index) for _, start, stop in ranges for index in range(start, stop)}
            self.wanted |= tasks - self.ends.keys()
            self.do(CancelRequested(ranges))
            if self.dice.random() < 0.2:
                self.wanted -= tasks
                self.do(CancelWithdrawn(ranges))

    def open_node(self) -> None:
        lost = [name for name, node in self.nodes.items() if not node.up]
        if lost and self.dice.random() < 0.6:
            self.come_back(self.dice.choice(lost))
        elif len(self.nodes) < 5:
            name = f"node{len(self.nodes)}"
            self.nodes[name] = node = Node(self.dice.choice([1, 2, 8]), Window(self.dice.choice([1, 10, 1000]), 10_000))
            self.do(NodeOpened(name, node.workers, node.window))

    def come_back(self, name: str) -> None:
        node = self.nodes[name]
        node.up = True
        have = []
        for piece in list(node.pieces):
            begun = self.dice.random() < 0.5
            phase = self.dice.choice([Phase.RUNNING, Phase.FINISHED]) if begun else Phase.QUEUED
            have += [Held(piece.cut.job, i, i + 1, piece.cut.attempt, phase) for i in piece.left]
            if not begun:
                node.pieces.remove(piece)
            piece.with_worker = begun
        flight = self.flight() if self.dice.random() < 0.3 else None
        self.do(NodeOpened(name, node.workers, node.window, tuple(have), flight))

    def flight(self) -> Flight:
        """Return what a lost node, of which nothing is known to be dead, may have had."""
        charges = self.dispatch._book.charges._nodes
        dead = self.dice.choice([*charges, "unknown"])
        begun = self.dice.sample(charges.get(dead, []), min(len(charges.get(dead, [])), self.dice.randint(0, 2)))
        one = self.dice.choice([1, 50])
        return Flight(
            dead, tuple(Held(c.job, c.start, min(c.stop, c.start + one), c.attempt, Phase.RUNNING) for c in begun)
        )

    def lose_node(self) -> None:
        if name := self.pick([name for name, node in self.nodes.items() if node.up]):
            node = self.nodes[name]
            node.up = False
            died = self.dice.random() < 0.5
            # What had been begun there may have been wanted back; nobody can tell.
            aboard = {piece.cut.attempt for piece in node.pieces} | {said.attempt for said in self.told}
            self.begun = {(attempt, index) for attempt, index in self.begun if attempt not in aboard}
            if died:
                node.pieces.clear()
            self.do(NodeLost(name, died))

    def hear(self) -> None:
        if name := self.pick([name for name, node in self.nodes.items() if node.up]):
            node = self.nodes[name]
            if self.dice.random() < 0.2 and not self.calm:
                self.do(NodeSuspected(name))
            else:
                have = self.inventory(node) if self.dice.random() < 0.5 else None
                self.do(NodeHeard(name, node.workers, node.window, self.calm or self.dice.random() < 0.9, have))

    def inventory(self, node: Node) -> tuple[Held, ...]:
        for piece in node.pieces:
            piece.with_worker |= self.dice.random() < 0.3
        phases = {True: Phase.RUNNING, False: Phase.QUEUED}
        return tuple(
            Held(piece.cut.job, i, i + 1, piece.cut.attempt, phases[piece.with_worker])
            for piece in node.pieces
            for i in piece.left
        )

    def run(self) -> None:
        """A node runs part of what it has, whether anybody hears it or not."""
        if not (node := self.pick([node for node in self.nodes.values() if node.pieces])):
            return
        piece = self.dice.choice(node.pieces)
        begun = piece.left[: self.dice.randint(1, len(piece.left))]
        if self.dice.random() < 0.1 and not self.calm:
            self.hand_back(node, piece, begun)
            return
        self.drop(node, piece.cut.attempt, begun)
        self.begun |= {(piece.cut.attempt, index) for index in begun}
        for index in begun:
            kinds = [OK] if self.calm else [OK] * 6 + [ERROR, CRASHED, OutcomeKind.TIMEOUT]
            self.tell(piece.cut, index, index + 1, self.dice.choice(kinds))

    def settle(self) -> None:
        """The sink tells, sometimes twice, sometimes because it was asked."""
        for said in self.told[: self.dice.randint(0, 5)]:
            self.told.remove(said)
            if self.dice.random() < 0.1 and said.kind is OK:
                self.do(OutcomeSettled(said._replace(attempt=UNKNOWN_ATTEMPT, elapsed_s=0.0)))
            self.do(OutcomeSettled(said))
            if self.dice.random() < 0.1:
                self.do(OutcomeSettled(said))

    def pass_time(self) -> None:
        self.now = max(self.now, min(self.dispatch.next_deadline(), self.now + 1.0))
        self.carry_out(self.dispatch.tick(self.now))

    def pick(self, among: list) -> object | None:  # type: ignore[type-arg]
        return self.dice.choice(among) if among else None

    def live(self, steps: int) -> None:
        moves = [self.open_job, self.add_tasks, self.close_job, self.cancel, self.open_node, self.lose_node]
        moves += [self.want_back]
        moves += [self.hear, self.pass_time, *[self.run] * 6, *[self.settle] * 6]
        for _ in range(steps):
            self.dice.choice(moves)()

    def finish(self) -> None:
        """Let nothing more go wrong; everything has to end."""
        self.calm = True
        for job in self.options.keys() - self.closed:
            self.closed.add(job)
            self.do(JobClosed(job))
        for name, node in self.nodes.items():
            if not node.up:
                self.come_back(name)
        self.open_node()
        for _ in range(20_000):
            if self.over == set(self.options) and not self.dispatch.aboard():
                return
            for move in (self.run, self.settle, self.hear, self.pass_time):
                move()
        raise AssertionError(f"never ends: {self.dispatch!r}")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_task_ends_exactly_once(seed: int) -> None:
    mesh = Mesh(random.Random(seed))
    mesh.live(400)
    mesh.finish()
    assert mesh.dispatch.jobs() == ()
    assert mesh.dispatch.waiting() == mesh.dispatch.aboard() == 0
    assert not mesh.dispatch._book.assignments
    assert not mesh.dispatch._book.ready
    assert not mesh.dispatch._wishes._by_attempt
    assert all(node.nbytes == node.cost_us == 0 for node in mesh.dispatch._book.nodes.values())
    assert len(mesh.ends) == sum(mesh.totals.values())


# Long runs --------------------------------------------------------------------------------------------------------


class Consumer:
    """Nodes that succeed at once: settles what was sent in the order of sending."""

    def __init__(self, dispatch: Dispatch, each_s: float = 1e-5) -> None:
        self.dispatch = dispatch
        self.each_s = each_s
        self.sent: list[Cut] = []
        self.finished = 0

    def take(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                self.sent += command.cuts
            elif isinstance(command, Finish):
                self.finished += command.stop - command.start

    def run(self) -> int:
        """Go on until nothing is aboard; return how many chunks that took."""
        chunks = 0
        while chunks < len(self.sent):
            job, attempt, start, stop, _ = self.sent[chunks]
            chunks += 1
            said = Settled(job, attempt, "n", start, stop, OK, self.each_s * (stop - start))
            self.take(self.dispatch.handle(Encoded(attempt, stop - start), 0.0))
            self.take(self.dispatch.handle(OutcomeSettled(said), 0.0))
        self.sent.clear()
        return chunks


def test_long_run_of_2_000_jobs_of_one_task_each() -> None:
    with within(5.0):
        dispatch = Dispatch()
        consumer = Consumer(dispatch)
        for number in range(2_000):
            dispatch.handle(JobOpened(f"p:{number}", TaskOptions()), 0.0)
            dispatch.handle(TasksAdded(f"p:{number}", 1), 0.0)
            dispatch.handle(JobClosed(f"p:{number}"), 0.0)
        consumer.take(dispatch.handle(NodeOpened("n", 4, WIDE), 0.0))
        assert consumer.run() == consumer.finished == 2_000
    assert dispatch.jobs() == ()


def test_long_run_of_500_nodes_that_join_a_job() -> None:
    with within(8.0):
        dispatch = Dispatch()
        consumer = Consumer(dispatch)
        dispatch.handle(JobOpened("j", TaskOptions(), 0.01), 0.0)
        dispatch.handle(TasksAdded("j", 30_000), 0.0)
        for number in range(500):
            consumer.take(dispatch.handle(NodeOpened(f"n{number}", 8, WIDE), 0.0))
        for number in range(500):
            consumer.take(dispatch.handle(NodeHeard(f"n{number}", 8, WIDE), 0.0))
        dispatch.check()
        consumer.run()
    assert consumer.finished == 30_000


def test_long_run_of_200_000_tasks_that_are_added_one_by_one() -> None:
    with within(10.0):
        dispatch = Dispatch()
        consumer = Consumer(dispatch)
        consumer.take(dispatch.handle(NodeOpened("n", 4, WIDE), 0.0))
        dispatch.handle(JobOpened("j", TaskOptions()), 0.0)
        for index in range(200_000):
            consumer.take(dispatch.handle(TasksAdded("j", 1), 0.0))
            if index % 10_000 == 0:
                consumer.run()
        consumer.run()
    assert consumer.finished == 200_000


def test_long_run_of_20_000_tasks_that_fail_once() -> None:
    with within(10.0):
        dispatch = Dispatch()
        consumer = Consumer(dispatch)
        dispatch.handle(JobOpened("j", TaskOptions(retries=1, backoff=10.0, jitter=0.0), 1e-4), 0.0)
        dispatch.handle(TasksAdded("j", 20_000), 0.0)
        consumer.take(dispatch.handle(NodeOpened("n", 4, WIDE), 0.0))
        for job, attempt, start, stop, _ in iter_growing(consumer.sent):
            for index in range(start, stop):
                kind = ERROR if index % 2 else OK
                consumer.take(
                    dispatch.handle(OutcomeSettled(Settled(job, attempt, "n", index, index + 1, kind, 1e-4)), 0.0)
                )
        consumer.sent.clear()
        assert (consumer.finished, dispatch.waiting()) == (10_000, 10_000)
        consumer.take(dispatch.tick(10.0))
        consumer.run()
    assert consumer.finished == 20_000
    assert repr(dispatch._book.jobs["j"].ledger) == "<Ledger tries={} crashes={} strikes={} losses=[{}, {}, {}, {}]>"
    assert not dispatch._book.schedule


def iter_growing(cuts: list[Cut]) -> Iterator[Cut]:
    """Go through a list that grows meanwhile."""
    place = 0
    while place < len(cuts):
        yield cuts[place]
        place += 1


def test_long_run_of_5_000_lost_nodes() -> None:
    with within(5.0):
        dispatch = Dispatch()
        dispatch.handle(JobOpened("j", TaskOptions()), 0.0)
        dispatch.handle(TasksAdded("j", 2), 0.0)
        for _ in range(5_000):
            dispatch.handle(NodeOpened("n", 2, WIDE), 0.0)
            dispatch.handle(NodeLost("n", died=False), 0.0)
        dispatch.check()
    assert repr(dispatch) == "<Dispatch <Book jobs=[j 0/2 waiting={0..2}] nodes=[]> <Wishes [] stray={}>>"


def test_long_run_of_5_000_retries_of_one_task() -> None:
    dispatch = Dispatch()
    dispatch.handle(JobOpened("j", TaskOptions(retries=10_000, backoff=0.001, jitter=0.0)), 0.0)
    dispatch.handle(TasksAdded("j", 1), 0.0)
    dispatch.handle(NodeOpened("n", 2, WIDE), 0.0)
    now, waits = 0.0, []
    for attempt in range(1, 5_001):
        dispatch.handle(OutcomeSettled(Settled("j", attempt, "n", 0, 1, ERROR, 0.0)), now)
        waits.append(dispatch.next_deadline() - now)
        now = dispatch.next_deadline()
        assert cuts(dispatch.tick(now)) == [Cut("j", attempt + 1, 0, 1, attempt)]
    assert waits[:3] == [0.001, 0.002, 0.004]
    assert max(waits) == pytest.approx(LONGEST_BACKOFF_S)
