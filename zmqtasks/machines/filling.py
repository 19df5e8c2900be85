"""How large a chunk is, and which node gets it.

A chunk holds about 20 ms of expected work and at most 1 MiB; a function nobody has measured starts with one task, and
grows sixty-fourfold with each round trip. A node gets what its workers can chew for a moment, and of long tasks one a
worker: what waits in the book can still go to whoever is idle first.

Owns the numbers of attempts, and the moment of the next look. Where tasks are stands in the `Book`, how carefully one
has to be run in the `Ledger` of its job. Called by `dispatch.py`, after each event that may have made room or work.
"""

from __future__ import annotations

import heapq
from itertools import count

from zmqtasks.machines.accounts import (
    CHUNK_BYTES,
    CHUNK_S,
    GROWTH,
    LEAST_CHUNK_S,
    UNWEIGHED_TASKS,
    JobAccount,
    NodeAccount,
)
from zmqtasks.machines.blame import Blame
from zmqtasks.machines.book import INFINITY, Book
from zmqtasks.machines.dispatch_moves import Command, Cut, Send
from zmqtasks.machines.placement import Placement, fits
from zmqtasks.messages import PeerId


class Filling:
    """Cut chunks for nodes that have room; see the module.

    Args:
        book: where tasks are.
        placement: asked which nodes have what a job needs.
        first_attempt: attempts are numbered from here.
    """

    def __init__(self, book: Book, placement: Placement, first_attempt: int) -> None:
        self._book = book
        self._placement = placement
        self._attempts = count(first_attempt)
        self.due_at = INFINITY
        """When to look for room, though nothing happens before."""

    def fill(self) -> list[Command]:
        """Give out what there is room for: to the node with the least before it first."""
        self.due_at = INFINITY
        book = self._book
        if not book.ready:
            return []
        cuts: dict[PeerId, list[Cut]] = {}
        nodes = [(node.load(), place, node) for place, node in enumerate(book.roomy.values())]
        heapq.heapify(nodes)
        while nodes and book.ready:
            _, place, node = nodes[0]
            cut = self._next_cut(node)
            if cut is not None:
                cuts.setdefault(node.id, []).append(cut)
                if book.ready:
                    heapq.heapreplace(nodes, (node.load(), place, node))
                continue
            heapq.heappop(nodes)
            if not node.has_room():
                del book.roomy[node.id]
        return [Send(node_id, tuple(chosen)) for node_id, chosen in cuts.items()]

    def _next_cut(self, node: NodeAccount) -> Cut | None:
        """Return the next range for this node, or None."""
        if not node.has_room():
            return None
        taken: set[str] = set()
        for job in self._book.in_turn():
            if job.reader and node.reader and job.reader != node.reader:
                continue  # it could not read the function
            if not self._has_place(job, node, taken):
                continue
            if self._keeps_free(job, node):
                return None
            chosen = self._choose(job, node)
            if chosen is not None:
                attempt = next(self._attempts)
                cut = Cut(job.id, attempt, *chosen)
                self._book.send(job, node, attempt, cut.start, cut.stop)
                return cut
        return None

    def _has_place(self, job: JobAccount, node: NodeAccount, taken: set[str]) -> bool:
        """Tell whether a node may be given tasks of this job now.

        `taken` are the resources that jobs before it wait for: what needs them too comes after those.
        """
        if not fits(job, node):
            return False
        if job.options.needs:
            short = self._placement.is_short(job, node)
            if short or any(name in taken for name, _ in job.options.needs):
                taken |= short
                return False
        return True

    def _keeps_free(self, job: JobAccount, node: NodeAccount) -> bool:
        """Tell whether a busy node is to run empty for a task of this job that has to be alone on one.

        Without this, the other tasks would keep all nodes busy, and this one would never get its turn.
        """
        if not node.attempts or job.ledger.care(job.waiting.first()[0]) is not Blame.NODE_ALONE:
            return False
        kept = self._book.nodes.get(job.kept_free)
        if kept is None or not kept.open:
            job.kept_free = node.id
        return job.kept_free == node.id

    def _choose(self, job: JobAccount, node: NodeAccount) -> tuple[int, int, int] | None:
        """Return the next range of the job that this node may have, and how often it was run before, or None."""
        if node.attempts and node.nbytes + job.task_bytes > node.window.bytes:
            return None
        span = job.ledger.first_sociable(job.waiting) if node.attempts else job.waiting.first()
        if span is None:
            return None
        start, stop = span
        if job.is_urgent and job.ledger.is_clean:
            start, stop = job.waiting.last()
            start = max(start, stop - self._size(job, node))
        blame = job.ledger.care(start)
        node.exclusive = blame is Blame.NODE_ALONE
        most = 1 if blame is not Blame.NONE else job.ledger.run_without_blame(start, self._size(job, node))
        runs, most = job.ledger.runs_from(start, min(most, stop - start))
        return start, start + most, runs

    def _size(self, job: JobAccount, node: NodeAccount) -> int:
        """Return how many tasks the next chunk of this job holds."""
        if job.task_s is None:
            return 1
        task_s, task_bytes = max(job.task_s, 1e-7), max(job.task_bytes, 1.0)
        # All workers shall end together: the less is left, the smaller the chunks; not where more may be to come.
        parts = (2 if job.closed else 1) * max(1, self._book.workers)
        share = max(job.waiting.count() / parts, LEAST_CHUNK_S / task_s)
        fitting = min(node.window.tasks - node.tasks, (node.window.bytes - node.nbytes) / task_bytes)
        weighed = CHUNK_BYTES / job.task_bytes if job.task_bytes else UNWEIGHED_TASKS
        return max(1, int(min(CHUNK_S / task_s, GROWTH * job.proven, weighed, share, fitting)))

    def __repr__(self) -> str:
        return f"<Filling due at {self.due_at:g} from {self._book!r}>"
