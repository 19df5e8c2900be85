"""The book of a ventilator: each task is in one place, and the accounts of jobs and nodes agree."""

from __future__ import annotations

import random
from itertools import count

import pytest

from tests.machines.driving import SEEDS
from zmqtasks.machines.accounts import BACKLOG_S, JobAccount, NodeAccount
from zmqtasks.machines.blame import Ledger
from zmqtasks.machines.book import Book
from zmqtasks.machines.charges import Charge
from zmqtasks.machines.dispatch_moves import FinishJob
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Window
from zmqtasks.options import MIB, TaskOptions

WIDE = Window(1_000_000, 1024 * MIB)


def a_job(book: Book, tasks: int, id_: str = "j", priority: int = 0) -> JobAccount:
    options = TaskOptions(priority=priority)
    job = book.jobs[id_] = JobAccount(id_, options, None, Ledger(options))
    book.add(job, tasks)
    book.check()
    return job


def a_node(book: Book, id_: str = "n", workers: int = 1) -> NodeAccount:
    node = NodeAccount(id_, workers, WIDE)
    book.open_node(node)
    return node


def test_a_task_from_place_to_place() -> None:
    book = Book()
    job, node = a_job(book, 10), a_node(book)
    book.send(job, node, 1, 0, 4)
    assert (book.waiting(), book.aboard(), job.sent) == (6, 4, 4)
    assert repr(book) == "<Book jobs=[j 0/10 waiting={4..10}] nodes=[n 4 aboard]>"
    assert [held.attempt for held in book.held_by(job)] == [1]
    book.unload(book.assignments[1], 0, 2)
    assert book.settle(job, 0, 2) == [(0, 2)]
    assert book.settle(job, 1, 3) == [(2, 3)]
    book.check()
    assert book.unfinished("j", 0, 10) == [(3, 10)]
    assert book.unfinished("other", 0, 10) is None
    book.unload(book.assignments[1], 2, 4)
    with pytest.raises(AssertionError, match="j: a task is nowhere in <Book"):
        book.check()
    book.put_back(job, 2, 4)
    book.check()
    assert (job.waiting, node.cost_us, job.attempts, node.attempts) == (RangeSet([(3, 10)]), 0, set(), set())


def test_a_task_in_two_places_is_noticed() -> None:
    book = Book()
    job = a_job(book, 2)
    book.delay(job, 1, 2, 5.0)
    with pytest.raises(AssertionError, match="j: in two places in <Book"):
        book.check()


def test_a_task_waits_for_its_moment_unless_it_ends_before() -> None:
    book = Book()
    job, node = a_job(book, 3), a_node(book)
    book.send(job, node, 1, 0, 3)
    book.unload(book.assignments[1], 0, 3)
    for index, until in enumerate((3.0, 1.0, 2.0)):
        book.delay(job, index, index + 1, until)
    book.check()
    assert not book.ready
    assert book.schedule.next_deadline() == 1.0
    book.settle(job, 2, 3)
    book.put_back_due(2.5)
    assert (job.waiting, job.delayed) == (RangeSet([(1, 2)]), RangeSet([(0, 1)]))
    del book.jobs["j"], book.ready[0]
    book.put_back_due(3.0)
    assert not book.schedule


def test_jobs_take_turns_the_higher_priority_first() -> None:
    book = Book()
    a, b, urgent = a_job(book, 3, "a"), a_job(book, 3, "b"), a_job(book, 1, "urgent", priority=9)
    node = a_node(book)
    assert [job.id for job in book.in_turn()] == ["urgent", "a", "b"]
    book.send(a, node, 1, 0, 1)
    book.send(urgent, node, 2, 0, 1)
    assert [job.id for job in book.in_turn()] == ["b", "a"]
    book.settle(b, 0, 3)
    assert [job.id for job in book.in_turn()] == ["a"]
    book.check()


def test_a_job_ends_with_its_last_task_and_so_do_the_charges_for_it() -> None:
    book = Book()
    job = a_job(book, 2)
    book.charges.add("dead", Charge(1, "j", 0, 1))
    assert book.end_if_done(job) == []
    job.closed = True
    book.settle(job, 0, 1)
    assert book.end_if_done(job) == []
    book.settle(job, 1, 2)
    assert set(book.end_if_done(job)) == {FinishJob("j", 0.5)}
    assert not book.jobs
    assert not book.charges
    book.check()


def test_doubted_tasks_wait_for_word_even_before_they_are_added() -> None:
    book = Book()
    job = a_job(book, 0)
    book.settle(job, 2, 4)
    book.doubt(job, 0, 6)
    book.add(job, 10)
    book.check()
    assert (job.doubted, job.waiting, job.sent) == (RangeSet([(0, 2), (4, 6)]), RangeSet([(6, 10)]), 6)
    for start, stop in book.end_doubt(job):
        book.put_back(job, start, stop)
    book.check()
    assert (job.doubted, job.waiting) == (RangeSet(), RangeSet([(0, 2), (4, 10)]))


def test_what_a_node_runs_is_adopted_where_it_waits_and_was_sent() -> None:
    book = Book()
    job, node, other = a_job(book, 10), a_node(book), a_node(book, "o")
    book.send(job, node, 1, 0, 4)
    lost = book.close_node(node)
    assert [(held.attempt, held.remaining) for held in lost] == [(1, RangeSet([(0, 4)]))]
    book.put_back(job, 0, 4)
    book.check()
    book.send(job, other, 2, 0, 1)
    again = a_node(book)
    book.adopt(again, "j", 1, RangeSet([(0, 8)]))
    assert book.assignments[1].remaining == RangeSet([(1, 4)])
    book.adopt(again, "j", 2, RangeSet([(1, 2)]))
    book.adopt(again, "gone", 3, RangeSet([(1, 2)]))
    book.adopt(again, "j", 4, RangeSet([(5, 6)]))
    assert sorted(book.assignments) == [1, 2]
    book.check()


def test_what_an_earlier_life_has_sent_is_adopted_piece_by_piece() -> None:
    book = Book()
    job, node = a_job(book, 0), a_node(book)
    book.doubt(job, 0, 8)
    book.add(job, 4)
    book.adopt(node, "j", 1, RangeSet([(0, 2)]))
    book.adopt(node, "j", 1, RangeSet([(2, 4)]))
    assert (book.assignments[1].size, node.tasks, node.cost_us) == (4, 4, round(BACKLOG_S * 1e6))
    assert job.doubted == RangeSet([(4, 8)])


def test_arguments_are_weighed_when_they_are_encoded() -> None:
    book = Book()
    job, node = a_job(book, 4), a_node(book)
    book.send(job, node, 1, 0, 2)
    book.weigh(book.assignments[1], 100)
    assert (node.nbytes, job.task_bytes) == (100, 50.0)
    book.send(job, node, 2, 2, 4)
    assert node.nbytes == 200
    book.unload(book.assignments[1], 0, 1)
    assert node.nbytes == 150
    del book.jobs["j"], book.ready
    book.weigh(book.assignments[2], 10)
    book.unload(book.assignments[2], 2, 4)
    assert (node.nbytes, book.close_node(node)[0].attempt) == (50, 1)


def test_workers_are_those_of_nodes_that_are_given_work() -> None:
    book = Book()
    node, other = a_node(book, workers=2), a_node(book, "o", workers=3)
    assert book.workers == 5
    node.open = False
    book.count_workers()
    assert book.workers == 3
    book.close_node(other)
    assert (book.workers, list(book.roomy)) == (0, ["n"])


@pytest.mark.parametrize("seed", SEEDS)
def test_accounts_agree_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    book, attempts = Book(), count(1)
    jobs = [a_job(book, chance.randrange(1, 40), f"j{n}", priority=n % 2) for n in range(3)]
    nodes = [a_node(book, f"n{n}", workers=n) for n in range(3)]
    for step in range(200):
        job, node = chance.choice(jobs), chance.choice(nodes)
        start = chance.randrange(0, 40)
        stop = min(job.total, start + chance.randrange(1, 10))
        match chance.randrange(5):
            case 0 if job.waiting:
                a, b = job.waiting.first()
                book.send(job, node, next(attempts), a, min(b, a + chance.randrange(1, 10)))
            case 1 if book.assignments:
                held = book.assignments[chance.choice(sorted(book.assignments))]
                a, b = held.remaining.first()
                book.unload(held, a, b)
                for c, d in book.unfinished(held.job, a, b) or ():
                    book.delay(book.jobs[held.job], c, c + 1, step + 5.0)
                    book.put_back(book.jobs[held.job], c + 1, d)
            case 2 if chance.random() < 0.1:
                book.settle(job, start, stop)
            case 3 if chance.random() < 0.2:
                for held in book.close_node(node):
                    for part in held.remaining:
                        book.put_back(book.jobs[held.job], *part)
                nodes[nodes.index(node)] = a_node(book, node.id)
            case 4:
                book.put_back_due(float(step))
        book.check()


def test_the_mean_of_long_tasks_is_not_pulled_down_by_what_is_forgotten() -> None:
    job = JobAccount("j", TaskOptions(), None, Ledger(TaskOptions()))
    for _ in range(10):
        job.measure(0.6, 1)
    assert job.task_s == pytest.approx(0.6)
