"""Where tasks can run: what they ask of a node, and what a node offers.

Owns the comparison, and which jobs no node that is here can ever run: those are taken out of turn until one comes, and
that is told once. Moves no task. Called by `dispatch.py` when nodes and jobs come and go, and by `filling.py` for each
node that has room.
"""

from __future__ import annotations

from zmqtasks.machines.accounts import BACKLOG_S, JobAccount, NodeAccount, cost_of_us
from zmqtasks.machines.book import Book
from zmqtasks.machines.dispatch_moves import Command, TellHomeless
from zmqtasks.messages import Offer
from zmqtasks.options import NodeOptions, TaskOptions

MOST_REASONS = 3
"""Of so many nodes is told why they cannot run a job."""


def objection(options: TaskOptions, offer: Offer) -> str:
    """Return why a node can never run tasks with these options; "" where it can."""
    if options.queue not in offer.queues:
        return f"it serves {_list('queue', offer.queues)}, not {options.queue}"
    labels, resources = dict(offer.labels), dict(offer.resources)
    for name, value in options.where:
        if labels.get(name) != value:
            return f"its {name} is {labels[name]}, not {value}" if name in labels else f"it has no {name}"
    for name, amount in options.needs:
        if resources.get(name, 0.0) < amount:
            return f"it has {resources.get(name, 0.0):g} {name}, not {amount:g}"
    return ""


def offer_of(options: NodeOptions) -> Offer:
    """Return what a node with these options offers."""
    return Offer(options.queues, options.resources, options.labels)


def _list(noun: str, names: tuple[str, ...]) -> str:
    return f"the {noun}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def fits(job: JobAccount, node: NodeAccount) -> bool:
    """Tell whether a node can ever run tasks of a job."""
    return not (job.is_choosy or node.is_choosy) or not objection(job.options, node.offer)


class Placement:
    """Know which jobs have no node to run on; see the module."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def job_opened(self, job: JobAccount) -> list[Command]:
        """A job is there."""
        return self._look(job)

    def nodes_changed(self) -> list[Command]:
        """A node came, or is lost."""
        return [command for job in list(self._book.jobs.values()) for command in self._look(job)]

    def _look(self, job: JobAccount) -> list[Command]:
        nodes = self._book.nodes.values()
        homeless = bool(nodes) and not any(fits(job, node) for node in nodes)
        if homeless is job.is_homeless:
            return []
        job.is_homeless = homeless
        self._book.requeue(job)
        if not homeless or job.is_told:
            return []
        job.is_told = True
        reasons = [f"{node.id}: {objection(job.options, node.offer)}" for node in list(nodes)[:MOST_REASONS]]
        return [TellHomeless(job.id, tuple(reasons), len(nodes))]

    def is_short(self, job: JobAccount, node: NodeAccount) -> set[str]:
        """Return of which resources a node has no more for this job now, by what this ventilator has there."""
        total = dict(node.offer.resources)
        cost_us = cost_of_us(1, job.task_s)
        short = set()
        for name, amount in job.options.needs:
            used = sum(held.cost_us * self._need(held.job, name) for held in self._book.held_on(node))
            if used + amount * cost_us > total[name] * BACKLOG_S * 1e6:
                short.add(name)
        return short

    def _need(self, job_id: str, name: str) -> float:
        job = self._book.jobs.get(job_id)
        return next((amount for known, amount in job.options.needs if known == name), 0.0) if job else 0.0
