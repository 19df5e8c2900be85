"""Filling: which node is given how much of which job, from a book alone."""

from __future__ import annotations

from zmqtasks.machines.accounts import GROWTH, JobAccount, NodeAccount
from zmqtasks.machines.blame import LOSSES_UNTIL_ALONE_ON_NODE, Ledger
from zmqtasks.machines.book import Book
from zmqtasks.machines.dispatch_moves import Cut, Send
from zmqtasks.machines.filling import Filling
from zmqtasks.machines.placement import Placement
from zmqtasks.messages import Window
from zmqtasks.options import MIB, TaskOptions


def a_book(*nodes: str, task_s: float | None = None, tasks: int = 1_000) -> tuple[Book, JobAccount]:
    book, options = Book(), TaskOptions()
    for node in nodes:
        book.open_node(NodeAccount(node, 1, Window(1_000_000, 1024 * MIB)))
    job = book.jobs["j"] = JobAccount("j", options, task_s, Ledger(options))
    book.add(job, tasks)
    return book, job


def test_of_a_job_that_nobody_has_measured_one_task_goes_to_each_node() -> None:
    book, _ = a_book("a", "b")
    filling = Filling(book, Placement(book), first_attempt=7)
    assert repr(filling) == f"<Filling due at inf from {book!r}>"
    filling.due_at = 5.0
    assert filling.fill() == [Send("a", (Cut("j", 7, 0, 1),)), Send("b", (Cut("j", 8, 1, 2),))]
    assert (filling.due_at, list(book.roomy)) == (float("inf"), [])
    assert filling.fill() == []
    book.check()


def test_chunks_grow_with_the_largest_that_came_back_whole() -> None:
    book, job = a_book("a", task_s=1e-6)
    job.task_bytes, job.proven = 1.0, 3
    (send,) = Filling(book, Placement(book), 1).fill()
    assert isinstance(send, Send)
    assert [cut.stop - cut.start for cut in send.cuts] == [3 * GROWTH] * 3
    book.check()


def test_a_chunk_holds_tasks_that_were_run_equally_often() -> None:
    book, job = a_book("a", task_s=1e-6, tasks=20)
    job.task_bytes, job.proven = 1.0, 1_000
    for index in (5, 6, 6):
        job.ledger.asked(index, 0.0)
    (send,) = Filling(book, Placement(book), 1).fill()
    assert isinstance(send, Send)
    assert [(cut.start, cut.stop, cut.runs) for cut in send.cuts] == [(0, 5, 0), (5, 6, 1), (6, 7, 2)]
    book.check()


def test_a_task_that_is_to_be_alone_keeps_its_node_to_itself() -> None:
    book, job = a_book("a", "b")
    for _ in range(LOSSES_UNTIL_ALONE_ON_NODE):
        job.ledger.lost(0, 1, alone=False)
    filling = Filling(book, Placement(book), 1)
    assert filling.fill() == [Send("a", (Cut("j", 1, 0, 1),)), Send("b", (Cut("j", 2, 1, 2),))]
    assert book.nodes["a"].exclusive
    book.put_back(job, 0, 1)
    book.unload(book.assignments[1], 0, 1)
    assert not book.nodes["a"].exclusive
    book.check()
