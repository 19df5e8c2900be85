"""The shell of a ventilator: the dispatch machine on sessions to nodes; see `sink_session` for that with a sink.

Owns the arguments of tasks until they have ended, encoded from the moment they are sent. Decides nothing about tasks
(`machines/dispatch.py` does). Runs in the loop's thread. Called by `embedded` and by the commands.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import islice
from typing import Any

from zmqtasks.machines import dispatch_moves as moves
from zmqtasks.machines.dispatch import Dispatch
from zmqtasks.machines.session import Closed
from zmqtasks.messages import (
    Address,
    Body,
    Cancel,
    Job,
    JobId,
    ObjectId,
    Offer,
    Outcome,
    OutcomeKind,
    Output,
    PeerId,
    PeerState,
    Range,
    Role,
    Settled,
    Stamp,
    Status,
)
from zmqtasks.neighbours import Neighbours
from zmqtasks.options import KIB, TaskOptions
from zmqtasks.peer import Link, Peer, Timer
from zmqtasks.ventilator.afterwards import Afterwards
from zmqtasks.ventilator.doubts import Doubts
from zmqtasks.ventilator.home import Home
from zmqtasks.ventilator.jobs import OpenJob, error_of, recorded_kind
from zmqtasks.ventilator.resuming import SPAWN, Kin, Resuming
from zmqtasks.ventilator.shipping import NodeLink, Shipping
from zmqtasks.ventilator.sink_session import SinkSession
from zmqtasks.ventilator.source import Source
from zmqtasks.wire import payload

logger = logging.getLogger(__name__)

HEADER_BYTES = 64 * KIB
"""What a message needs beside the body of one chunk, at most: a task is too big before its message is."""


MESSAGE_RANGES = 10_000
"""Ranges that one CANCEL names, at most."""


class Ventilator:
    """Give tasks to nodes until each has ended.

    Args:
        peer: owned by the caller.
        sink: where results go; the peer's own address where the sink lives in this program.
        on_nodes: called whenever a node comes or goes, falls silent or speaks again, or begins to drain.
        on_output: told of what a node's workers print over jobs that ask for it.
        first_attempt: see `Dispatch`.
        resuming: the journal of this ventilator, which has the id of `peer`; None for none.
    """

    def __init__(
        self,
        peer: Peer,
        sink: Address | None = None,
        *,
        on_nodes: Callable[[], None] = lambda: None,
        on_output: Callable[[PeerId, Output], None] = lambda node, output: None,
        first_attempt: int = 1,
        resuming: Resuming | None = None,
    ) -> None:
        self.links: list[Link] = []
        self.neighbours: Neighbours | None = None
        """Told of sessions with nodes, where somebody wants to find more of them."""
        self.refusals: dict[Address, str] = {}
        """Why nodes will not have us."""
        self.home = Home(peer.loop, peer.lease_s)
        """Where our tasks ask for what they need."""
        peer.on_errands = self.home.heard
        self._peer = peer
        self._on_nodes = on_nodes
        self._on_output = on_output
        self.afterwards = Afterwards(peer.loop)
        """Words of the sink that can wait until the next call is on its way."""
        self.asks_output = False
        """Whether any job asked for output."""
        self._dispatch = Dispatch(resuming.journal.first_attempt if resuming else first_attempt)
        self._resuming = resuming
        self._jobs: dict[JobId, OpenJob] = {}
        self._shipping = Shipping(
            self._jobs, resuming, is_aboard=self._is_aboard, on_event=self._handle, on_failure=self._not_encoded
        )
        self._numbers = 0
        self._commands: deque[moves.Command] = deque()
        self._carrying_out = False
        self._timer: Timer | None = None
        self._sink: SinkSession | None = None
        if sink is not None:
            self._sink = SinkSession(peer, sink, jobs=self._jobs_at_sink, settle=self.settle, on_change=on_nodes)
        self._doubts = Doubts(peer.loop, self._handle, self._sink)

    # Nodes

    def add_node(self, address: Address) -> Link:
        """Open a session with a node; it gets work as soon as it answers.

        Raises:
            BindError: the address is malformed.
        """
        link = self._peer.open(address, Role.VENTILATOR, self)
        link.data = link.data or NodeLink()
        self.links.append(link)
        self._doubts.expect(link)
        return link

    def drop_node(self, link: Link, *, died: bool = False) -> None:
        """End the session with a node; what it has goes to others. `died` where its process is known to be gone."""
        self.links.remove(link)
        self._lose(link, died=died)
        link.close()
        self._doubts.answered(link)

    def nodes(self) -> list[Link]:
        """Return the links to nodes that are up."""
        return [link for link in self.links if link.is_up]

    def close(self) -> None:
        """End all sessions; tasks that have not ended are forgotten."""
        self.afterwards.close()
        if self._timer:
            self._timer.cancel()
        self._doubts.close()
        for link in self.links:
            link.close()
        self.home.close()
        if self._sink:
            self._sink.close()
        self._shipping.close()

    # Jobs

    def open_job(
        self,
        function: bytes,
        name: str,
        options: TaskOptions,
        *,
        on_finish: Callable[[moves.Finish, BaseException | None], None],
        on_sent: Callable[[int, int, int], Sequence[int] | None] = lambda start, stop, nbytes: None,
        on_end: Callable[[float | None], None] = lambda task_s: None,
        on_denied: Callable[[int, int], None] = lambda start, stop: None,
        on_restored: Callable[[int, int], None] = lambda start, stop: None,
        task_s: float | None = None,
        kin: Kin | None = None,
    ) -> JobId:
        """Open a job, or go on with the one that the journal has; tasks are added later, and again all of them.

        Args:
            function: encoded by `payload.pack_function`.
            name: for people.
            options: of each task.
            on_finish: told of ranges that have ended, with the error where this side decided it.
            on_sent: told of ranges that go to a node, and of their bytes; may name tasks that shall not go after all.
            on_end: told once, when the job is closed and all its tasks have ended, with the mean seconds of a task.
            on_denied: told of ranges that `request_cancel` came too late for.
            on_restored: told of ranges that have ended in an earlier life, with whatever is recorded of them.
            task_s: what a task of this function is known to take.
            kin: by what a journal knows the job.

        Raises:
            JournalMismatch: the journal has something else.
        """
        self._numbers += 1
        job_id = f"{self._peer.id}:{self._numbers}"
        if self._resuming:
            job_id = self._resuming.open(name, options, kin or Kin())
        comes_home = self._sink is None or (kin is not None and kin.kind == SPAWN)
        wire = Job(job_id, name, self._sink_address(comes_home), options, function)
        source = Source(options, self._peer.limits.message_bytes - HEADER_BYTES, name)
        self._jobs[job_id] = OpenJob(wire, source, on_sent, on_finish, on_end, on_denied, on_restored, comes_home)
        self.asks_output |= options.output
        reader = minor_of(dict(self._peer.versions)["python"]) if payload.has_code(function) else ""
        self._handle(moves.JobOpened(job_id, options, task_s, reader))
        if self._resuming and self._resuming.totals(job_id)[0]:
            self._doubts.begin(job_id, at_sink=not comes_home)
        return job_id

    def add(self, job_id: JobId, items: Sequence[Any], form: payload.Form, trace_id: str = "") -> None:
        """Add tasks to a job, numbered on from the last; `items` is owned from now on.

        Raises:
            JournalMismatch: the journal has others.
        """
        if len(items) > 1:
            self.afterwards.do()
        self._jobs[job_id].source.add(items, form, Stamp(time.time(), trace_id))
        if self._resuming is None:
            self._carry_out(self._dispatch.handle(moves.TasksAdded(job_id, len(items)), self._peer.loop.time()))
            self.afterwards.do()
        else:
            self._resuming.add(job_id, items, form, self._shipping.objects, lambda a, b: self._release(job_id, a, b))

    def adopt(self, job_id: JobId, body: Body, count: int, trace_id: str, on_taken: Callable[[], None]) -> None:
        """Add tasks whose arguments a task has encoded; `on_taken` is called when they cannot be lost any more."""
        self._jobs[job_id].source.adopt(body, count, Stamp(time.time(), trace_id))
        if self._resuming is None:
            on_taken()
            self._handle(moves.TasksAdded(job_id, count))
            return

        def release(start: int, stop: int) -> None:
            on_taken()
            self._release(job_id, start, stop)

        self._resuming.adopt(job_id, body, count, release)

    def readopt(self, job_id: JobId) -> None:
        """Add the tasks of a job that an earlier life has adopted."""
        assert self._resuming is not None
        stop = 0
        for body, count in self._resuming.adopted(job_id):
            self._jobs[job_id].source.adopt(body, count, Stamp(time.time(), ""))
            stop += count
        self._release(job_id, 0, stop)

    def close_job(self, job_id: JobId) -> None:
        """Say that no more tasks come; the job ends with its last task."""
        if self._resuming is None:
            self._handle(moves.JobClosed(job_id))
        else:
            self._resuming.after(lambda: self._close_job(job_id))

    def _close_job(self, job_id: JobId) -> None:
        if job_id in self._jobs:
            self._handle(moves.JobClosed(job_id))

    def cancel(self, job_id: JobId, start: int, stop: int, *, kill: bool = False) -> None:
        """Give up tasks, which have ended with that: those not sent are never sent, those queued on nodes taken back.

        With `kill`, those that run are stopped as well.
        """
        if job := self._jobs.get(job_id):
            job.source.release(start, stop)
            self._handle(moves.TasksCancelled(job_id, start, stop, kill))

    def request_cancel(self, ranges: Sequence[Range]) -> None:
        """Take tasks back where they were not begun; each ends as RETURNED, or as it would have, after `on_denied`."""
        self._handle(moves.CancelRequested(tuple(ranges)))

    def withdraw_cancel(self, ranges: Sequence[Range]) -> None:
        """Let tasks go on that were asked for, and not taken back so far."""
        self._handle(moves.CancelWithdrawn(tuple(ranges)))

    def queue_length(self, queue: str, *, delayed: bool) -> int:
        """Return how many tasks of a queue are not aboard a node."""
        return self._dispatch.queues.length(queue, delayed=delayed)

    def purge(self, queue: str) -> int:
        """Cancel what has not begun of a queue, wherever it is; return how many tasks waited here."""
        number = self._dispatch.queues.length(queue, delayed=True)
        self.request_cancel(self._dispatch.queues.all(queue))
        return number

    def hold(self, queue: str, *, held: bool) -> None:
        """Send nothing of a queue from now on, or go on."""
        self._handle(moves.QueueHeld(queue, held))

    def held_queues(self) -> list[str]:
        """Return the queues of which nothing is sent."""
        return self._dispatch.queues.held()

    def pull(self, queue: str, most: int, jobs: Container[JobId]) -> list[tuple[JobId, int, payload.Form, Any]]:
        """Take up to so many tasks out that are of these jobs and were never sent; they have ended with that here."""
        pulled = list(islice((call for call in self.unsent(queue) if call[0] in jobs), most))
        for job_id, index, _, _ in pulled:
            self.cancel(job_id, index, index + 1)
        return pulled

    def unsent(self, queue: str) -> Iterator[tuple[JobId, int, payload.Form, Any]]:
        """Go through the tasks of a queue that were never sent, the first in line first."""
        for job_id, start, stop in self._dispatch.queues.waiting(queue):
            for argument in self._jobs[job_id].source.unencoded(start, stop):
                yield job_id, *argument

    def keep_object(self, object_id: ObjectId, body: Body) -> None:
        """Keep an object, for the nodes that will need it."""
        self._shipping.objects[object_id] = body

    def drop_object(self, object_id: ObjectId) -> None:
        """Let go of an object that nobody refers to, here and on the nodes."""
        self._shipping.drop_object(object_id, self.links)

    def settle(self, settled: Settled) -> None:
        """Take the word of the sink of this program that an outcome is recorded."""
        if self._resuming is None:
            self._handle(moves.OutcomeSettled(settled))
            return
        if settled.attempt == moves.END_OF_ANSWER:
            self._doubts.sink_answered(settled.job)
            return
        for event in self._resuming.settle(settled):
            self._handle(event)

    def waiting(self) -> int:
        """Return how many tasks are not aboard any node."""
        return self._dispatch.waiting()

    def is_idle(self) -> bool:
        """Tell whether all that was added is aboard nodes, or has ended: nothing waits for room."""
        return not self._dispatch.has_ready()

    def aboard(self) -> int:
        """Return how many tasks are aboard nodes."""
        return self._dispatch.aboard()

    def sink_refusal(self) -> str:
        """Return why the standalone sink will not take results, if so."""
        return self._sink.refusal if self._sink else ""

    def sink_is_up(self) -> bool:
        """Tell whether results have somewhere to go."""
        return self._sink is None or self._sink.is_up()

    def flushed(self) -> bool:
        """Tell whether the standalone sink has acknowledged all that this side decided."""
        return self._sink is None or self._sink.flushed()

    def _jobs_at_sink(self) -> list[JobId]:
        return [job_id for job_id, job in self._jobs.items() if not job.comes_home]

    def _comes_home(self, job_id: JobId) -> bool:
        job = self._jobs.get(job_id)
        return job is not None and job.comes_home

    def _sink_address(self, comes_home: bool) -> Address:
        address = self._peer.address if self._sink is None or comes_home else self._sink.address
        # Before it has answered, a standalone sink is known by its endpoint alone.
        peer, host, endpoints = address
        return Address(peer or endpoints[0], host or endpoints[0], endpoints)

    # What an earlier life has left

    def _release(self, job_id: JobId, start: int, stop: int) -> None:
        """Give tasks to the machine: they are written, or compared with what is."""
        assert self._resuming is not None
        for event in self._resuming.released(job_id, start, stop) if job_id in self._jobs else ():
            self._handle(event)
        if job_id in self._jobs and job_id not in self._doubts:
            self._handle(moves.DoubtsEnded(job_id))

    # The machine

    def _handle(self, event: moves.Event) -> None:
        if self.afterwards.waiting:  # it came before
            self.afterwards.do()
        self._carry_out(self._dispatch.handle(event, self._peer.loop.time()))

    def _carry_out(self, commands: list[moves.Command]) -> None:
        """Carry out commands in the order of the decisions: what one of them leads to comes after the rest."""
        self._commands.extend(commands)
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            while self._commands:
                self._do(self._commands.popleft())
        finally:
            self._carrying_out = False
        self._rearm()

    def _do(self, command: moves.Command) -> None:
        match command:
            case moves.Send(node, cuts):
                self._shipping.send(self._link_to(node), cuts)
            case moves.Finish():
                self._finish(command)
            case moves.Restore(job_id, start, stop):
                if job := self._jobs.get(job_id):
                    job.source.release(start, stop)
                    job.on_restored(start, stop)
            case moves.Recall(node, ranges, kill):
                self._recall(node, ranges, kill=kill)
            case moves.Deny(job_id, start, stop):
                if job := self._jobs.get(job_id):
                    job.on_denied(start, stop)
            case moves.Inquire(missing):
                if self._sink and (at_sink := [m for m in missing if not self._comes_home(m.job)]):
                    self._sink.inquire(at_sink)
            case moves.TellHomeless():
                self._tell_homeless(command)
            case moves.FinishJob(job_id, task_s):
                self._end_job(job_id, task_s)

    def _tell_homeless(self, told: moves.TellHomeless) -> None:
        name = self._jobs[told.job].wire.name if told.job in self._jobs else told.job
        why = "; ".join(told.reasons) + ("; ..." if told.nodes > len(told.reasons) else "")
        logger.warning("no node that is here can ever run %s, its calls wait for one that can (%s)", name, why)

    def _rearm(self) -> None:
        deadline = self._dispatch.next_deadline()
        if self._timer:
            self._timer.cancel()
        self._timer = self._peer.loop.call_at(deadline, self._tick) if deadline < float("inf") else None

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self._dispatch.tick(self._peer.loop.time()))

    def _link_to(self, node: str) -> Link:
        for link in self.links:
            if link.partner == node and link.data.open:
                return link
        raise LookupError(node)

    def _is_aboard(self, attempt: int) -> bool:
        return self._dispatch.is_aboard(attempt)

    def _not_encoded(self, cut: moves.Cut, index: int, error: BaseException) -> None:
        failed = moves.Finish(cut.job, index, index + 1, OutcomeKind.ERROR, cut.attempt, self._peer.id)
        self._conclude(failed, error)

    def _finish(self, finish: moves.Finish) -> None:
        job = self._jobs.get(finish.job)
        error = error_of(finish, job.wire.options, self._peer.id, self._pythons) if job else None
        if error is None:
            self._let_go(finish, None)
        else:
            self._conclude(finish, error)

    def _pythons(self) -> tuple[str, str]:
        told = (f"{k.address.endpoints[0]} has {k.data.python or 'another'}" for k in self.links if k.data.open)
        return dict(self._peer.versions)["python"], ", ".join(told)

    def _conclude(self, finish: moves.Finish, error: BaseException) -> None:
        """End tasks with an error this side decided; a standalone sink is told to record it."""
        if self._sink and not self._comes_home(finish.job):
            body, node, kind = payload.pack_failure(error), finish.node or self._peer.id, recorded_kind(finish.kind)
            self._sink.tell(
                Outcome(finish.job, finish.attempt, node, index, index + 1, kind, 0.0, body)
                for index in range(finish.start, finish.stop)
            )
        self._let_go(finish, error)

    def _let_go(self, finish: moves.Finish, error: BaseException | None) -> None:
        if job := self._jobs.get(finish.job):
            job.source.release(finish.start, finish.stop)
            job.on_finish(finish, error)

    def _recall(self, node: str, ranges: tuple[Range, ...], *, kill: bool) -> None:
        link = self._link_to(node)
        for first in range(0, len(ranges), MESSAGE_RANGES):
            some = ranges[first : first + MESSAGE_RANGES]
            link.request(lambda number, some=some: Cancel(number, some, kill))  # type: ignore[misc]

    def _end_job(self, job_id: JobId, task_s: float | None) -> None:
        job = self._jobs.pop(job_id)
        self._doubts.forget(job_id)
        if self._resuming:
            self._resuming.forget(job_id)
        for link in self.links:
            if job_id in link.data.named:
                link.data.named.discard(job_id)
                link.data.ended.append(job_id)
        job.on_end(task_s)

    # Sessions with nodes

    def link_opened(self, link: Link, status: Status) -> None:
        """A node answered: it gets work."""
        twin = next((k for k in self.links if k is not link and k.partner == link.partner and k.data.open), None)
        if twin is not None:
            logger.info("%s and %s are the same node; keeping the first", twin.address, link.address)
            if self.neighbours:
                self.neighbours.twin(link, status)
            self.links.remove(link)
            link.close()
            self._doubts.answered(link)
            return
        link.data = NodeLink(open=True, status=status, python=dict(status.versions).get("python", ""))
        workers, have = status.load.workers, status.have or ()
        assert link.partner is not None
        self.home.opened(link, status.incarnation)
        reader = minor_of(dict(status.versions).get("python", ""))
        offer = status.offer or Offer()
        self._handle(moves.NodeOpened(link.partner, workers, status.window, have, status.flight, reader, offer))
        if status.state is not PeerState.UP:
            self.link_heard(link, status)
        if self.neighbours:
            self.neighbours.opened(link, status)  # before it counts as the last to answer: others may be told of
        self._doubts.answered(link)
        self._on_nodes()

    def link_heard(self, link: Link, status: Status) -> None:
        """A node told its window, load and state."""
        if link.data.open and link.partner:
            link.data.status = status
            is_open = status.state is PeerState.UP
            # A sink in this program tells of what it acknowledges; one that stands alone may die in between.
            # What is counted as aboard and not sent yet would be missing on the node.
            judged = self._sink and not link.data.unwritten
            progress = (status.cum, link.last_seq) if judged else None
            heard = moves.NodeHeard(link.partner, status.load.workers, status.window, is_open, status.have, progress)
            self._handle(heard)
            if status.known and self.neighbours:
                self.neighbours.heard(status)
            self._show(link, status.state, heard=True)

    def _show(self, link: Link, state: PeerState, *, heard: bool) -> None:
        if link.data.shown != (state, heard):
            link.data.shown = state, heard
            self._on_nodes()

    def link_printed(self, link: Link, output: Output) -> None:
        """Workers of a node printed something."""
        if link.partner:
            self._on_output(link.partner, output)

    def link_suspected(self, link: Link) -> None:
        """A node is silent: it gets no more work for now."""
        if link.data.open and link.partner:
            self._handle(moves.NodeSuspected(link.partner))
            self._show(link, link.data.shown[0], heard=False)

    def link_closed(self, link: Link, closed: Closed) -> None:
        """A session with a node is over: what was aboard goes to others."""
        self._lose(link, died=closed.died)
        if self.neighbours:
            self.neighbours.closed(link, closed)

    def _lose(self, link: Link, *, died: bool) -> None:
        if link.data and link.data.open and link.partner:
            link.data.open = False
            self.home.lost(link.partner, died=died)
            if self._sink:
                self._sink.ask_of_all()
            self._handle(moves.NodeLost(link.partner, died))
            self._on_nodes()

    def link_refused(self, link: Link, reason: str) -> None:
        """A node will not have us."""
        logger.error("%s refused us: %s", link.address.endpoints[0], reason)
        self.refusals[link.address] = reason
        self._doubts.answered(link)
        self._on_nodes()


def minor_of(version: str) -> str:
    """Return "3.11" of "3.11.7"."""
    return ".".join(version.split(".")[:2])
