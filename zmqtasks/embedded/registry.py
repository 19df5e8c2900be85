"""The calls of an embedding program: which job a call belongs to, and where its result goes.

Owns jobs, futures and mappings between the caller's threads and the loop; `reception.py` hands on what becomes of them.
Called by `client.py` and `aio.py`.
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from zmqtasks.embedded.functions import KNOWN_FUNCTIONS, Functions
from zmqtasks.embedded.futures import TaskFuture
from zmqtasks.embedded.home_line import HomeLine
from zmqtasks.embedded.mapping import Mapping
from zmqtasks.embedded.nursery import Nursery
from zmqtasks.embedded.pending import Pending
from zmqtasks.embedded.periodic import Periodic
from zmqtasks.embedded.reception import Reception
from zmqtasks.embedded.submitted import Batch, SubmittedJob
from zmqtasks.embedded.thread import Embedded
from zmqtasks.embedded.views import Known, View
from zmqtasks.embedded.watched import Receiver
from zmqtasks.embedded.where import Where
from zmqtasks.errors import JournalError, NoNodes, TaskLost, ZmqtasksError
from zmqtasks.machines.placement import objection, offer_of
from zmqtasks.messages import JobId, ObjectId, Range
from zmqtasks.options import KIB, TaskOptions, parse_duration
from zmqtasks.tasks import options_for
from zmqtasks.ventilator.resuming import Kin
from zmqtasks.ventilator.shell import Ventilator
from zmqtasks.wire import payload
from zmqtasks.wire.functions import TASK_MARK
from zmqtasks.wire.payload import Form

logger = logging.getLogger(__name__)

T = TypeVar("T")

OPEN_JOBS = 256
"""Jobs of submitted calls that are kept open for further calls of the same function."""
NO_CHILDREN = (
    "in a client with a journal tasks submit no tasks; zmqtasks run --journal and ventilator --journal run them"
)
AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"
_DEFAULT = TaskOptions()
ONE, MANY, CALL = Form.ONE, Form.MANY, Form.CALL


class _Given(NamedTuple):
    """What a `map` was called with, beside its function."""

    iterables: Sequence[Iterable[Any]]
    ordered: bool
    bound: int | None
    trace_id: str


class Registry:
    """All calls of one client, from any thread.

    Args:
        where: nodes and sink.
        defaults: options of calls that nobody says otherwise of.
        pending: bounds submitted calls, where that is wanted.

    Raises:
        NoNodes: no node answered in time.
        BindError: an address cannot be bound.
    """

    def __init__(self, where: Where, defaults: TaskOptions = _DEFAULT, pending: Pending | None = None) -> None:
        self._defaults = defaults
        self._lock = threading.Lock()
        self._own_offer = None if where.addresses else offer_of(where.node)
        self._idle = threading.Condition(self._lock)
        self._open_mappings = 0
        self._shut = False
        self._puts = 0
        self._broken: ZmqtasksError | None = None
        self._filled: list[SubmittedJob] = []
        """Jobs with calls that the loop has not taken yet, once for each batch."""
        self._woken = False
        self._submitted: dict[tuple[bytes, TaskOptions], SubmittedJob] = {}
        self._by_use: OrderedDict[SubmittedJob, None] = OrderedDict()
        """Those of them that are open, the least recently used first."""
        self._mappings: weakref.WeakSet[Mapping] = weakref.WeakSet()
        self._has_journal = where.journal is not None
        self._functions = Functions(fingerprints=self._has_journal)
        self._pending = pending
        self._reception = Reception(where.watching, self.broken, self._begin)
        self.embedded = Embedded(where, self._reception)
        self.line = HomeLine(self.embedded)
        """The way to what tasks share."""
        self.serializer = defaults.serializer

    # From any thread

    def submit(
        self,
        view: View,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        future: TaskFuture | None = None,
    ) -> TaskFuture:
        """Submit a call; see `Client.submit`. `future` is to be resolved, where it shall be a special one."""
        known = view.known.get(id(function))
        if known is not None and known.mark is getattr(function, TASK_MARK, None):
            job = known.job
        else:
            job = self._job_for(view, function)
        item: Any
        if kwargs:
            form, item = CALL, (args, kwargs)
        elif len(args) == 1:
            form, item = ONE, args[0]
        else:
            form, item = MANY, args
        if future is None:
            future = TaskFuture()
        if self._pending:
            self._wait_for_room(view, future, args, kwargs)
        with self._lock:
            if self._shut or self._broken:
                self._check_open()
            if job.closed:
                job = self._reopened(view, function, job)
            batch = job.filling
            if batch is None or batch.form is not form or batch.trace_id != view.trace_id:
                self._filled.append(job)
                batch = job.begin(form, view.trace_id)
            items, futures = batch.items, batch.futures
            number = len(items)
            if len(futures) != number:  # Ctrl-C came between the two steps below
                del futures[number:]
            future._canceller, future._index = job, batch.first + number
            futures.append(future)
            items.append(item)
            if not self._woken:
                self.embedded.call_soon(self._take_calls)
                self._woken = True
        return future

    def _wait_for_room(self, view: View, future: TaskFuture, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Wait until there is room for another call; in the loop's thread nobody may wait for the loop.

        Raises:
            TimeoutError: there was none in time.
        """
        assert self._pending is not None
        wait = not self.embedded.is_current_thread()
        future._weight = self._pending.enter((args, kwargs), view.submit_timeout, wait=wait)

    def tend(self, act: Callable[[Ventilator], T]) -> T:
        """Do something about what waits, once all calls that were submitted are with the ventilator."""

        def tend() -> T:
            self._take_calls()
            return act(self.embedded.ventilator)

        return self.embedded.call(tend)

    def submitted_jobs(self) -> dict[JobId, SubmittedJob]:
        """Return the open jobs of submitted calls; in the loop's thread."""
        return {job.job_id: job for job in self._by_use}

    def every(self, view: View, period: float | str, function: Callable[..., Any], args: Any, kwargs: Any) -> Periodic:
        """Make a call at fixed intervals; see `Client.every`."""
        period_s = parse_duration(period)
        if not period_s:
            raise ValueError("the period must be above 0 seconds")
        if self._has_journal:
            raise ValueError(
                "every() is for clients without a journal: what a journal has ended is not run again, and so the runs "
                "of an earlier life would be taken for those of this one"
            )
        submit = functools.partial(self.submit, view, function, args, kwargs)
        return Periodic(period_s, submit, self.embedded.loop, self.embedded.call_soon)

    def _job_for(self, view: View, function: Callable[..., Any]) -> SubmittedJob:
        """Return the job that a function has with the options of this view, open or to be opened."""
        mark = getattr(function, TASK_MARK, None)
        options = self._placed(options_for(function, view.changes, self._defaults))
        body, name = self._functions.encode(function, options.serializer)
        with self._lock:
            job = self._submitted_job(body, name, options)
        if self._functions.is_known(function, options.serializer) and len(view.known) < KNOWN_FUNCTIONS:
            view.known[id(function)] = Known(function, mark, job)
        return job

    def _placed(self, options: TaskOptions) -> TaskOptions:
        """Return options that some node may be found for; where the only one is our own, it will not change.

        Raises:
            NoNodes: that one can never run such calls.
        """
        if self._own_offer is not None and (why := objection(options, self._own_offer)):
            raise NoNodes(
                f"the node of this client can never run this: {why}; say what it is to be with Client(queues=..., "
                "resources=..., labels=...), or connect to nodes that are"
            )
        return options

    def _reopened(self, view: View, function: Callable[..., Any], closed: SubmittedJob) -> SubmittedJob:
        """Return the job that stands in the place of a closed one; the lock is held."""
        job = self._submitted_job(closed.function, closed.name, closed.options)
        if known := view.known.get(id(function)):
            view.known[id(function)] = known._replace(job=job)
        return job

    def _submitted_job(self, function: bytes, name: str, options: TaskOptions) -> SubmittedJob:
        """Return the job of a function, a new one where there is none; the lock is held."""
        job = self._submitted.get((function, options))
        if job is None:
            job = self._submitted[function, options] = SubmittedJob(function, name, options, self, self._job_idle)
            job.pending = self._pending
        return job

    def map(
        self,
        view: View,
        function: Callable[..., Any],
        iterables: Sequence[Iterable[Any]],
        *,
        ordered: bool,
        bound: int | None,
    ) -> Mapping:
        """Open a mapping and pull its first arguments; see `Client.map`."""
        options = self._placed(options_for(function, view.changes, self._defaults))
        body, name = self._functions.encode(function, options.serializer)
        with self._lock:
            self._check_open()
            self._open_mappings += 1
        given = _Given(iterables, ordered, bound, view.trace_id)
        mapping = self._open_mapping(body, name, options, given)
        self._mappings.add(mapping)
        try:
            mapping.pull()
        except BaseException:
            mapping.close()
            raise
        return mapping

    def _open_mapping(self, body: bytes, name: str, options: TaskOptions, given: _Given) -> Mapping:
        box: list[JobId] = []

        def add(items: Sequence[Any], form: payload.Form) -> None:
            self.embedded.call_soon(self._add_to_mapping, box, items, form, given.trace_id)

        def end() -> None:
            self.embedded.call_soon(self._end_mapping, box)

        def cancel(stop: int) -> None:
            self.embedded.call_soon(lambda: self.embedded.ventilator.cancel(box[0], 0, stop))

        mapping = Mapping(
            given.iterables,
            ordered=given.ordered,
            bound=given.bound,
            serializer=options.serializer,
            add=add,
            end=end,
            cancel=cancel,
        )
        self.embedded.call_soon(lambda: box.append(self._open(body, name, options, mapping, self._mapping_ended)))
        return mapping

    def put(self, value: object) -> payload.Reference:
        """Encode an object, and keep it for nodes that will need it; see `Client.put`."""
        with self._lock:
            self._check_open()
            self._puts += 1
            object_id = f"{self.embedded.peer.id}:{self._puts}"
        most_bytes = self.embedded.peer.limits.message_bytes - 64 * KIB
        (run,) = payload.pack([value], most_bytes=most_bytes, pool=payload.Keeper())
        if run.body is None:
            assert run.error is not None
            raise run.error
        self.embedded.call(self.embedded.ventilator.keep_object, object_id, run.body)
        return payload.Reference(object_id, len(run.body), self._drop)

    def _drop(self, object_id: ObjectId) -> None:
        """Let go of an object; called where the last reference ends, in whatever thread that is."""
        self.embedded.call_soon(self.embedded.ventilator.drop_object, object_id)

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        """Take no more calls, and end when the last has ended; see `Client.shutdown`."""
        with self._lock:
            first, self._shut = not self._shut, True
        if self._pending:
            self._pending.give_up()
        self.embedded.call_soon(self._take_calls)  # where Ctrl-C came to `submit`, the loop may not have been told
        self.embedded.call_soon(self._resume_queues)
        if cancel_futures:
            self.embedded.call_soon(self._cancel_all)
        for mapping in list(self._mappings):
            mapping.give_up() if cancel_futures else mapping.pull_the_rest()
        # In the loop's thread (a callback of a future) nobody may wait for the loop.
        if wait and not self.embedded.is_current_thread():
            self._close_when_idle()
        elif first:
            threading.Thread(target=self._close_when_idle, name="zmqtasks-shutdown", daemon=True).start()

    def abort(self) -> None:
        """End at once: what has not ended is given up, what runs is killed; idempotent."""
        with self._lock:
            self._shut = True
        if self.embedded.is_closed:
            return
        self.embedded.call(self.broken, TaskLost("the client was closed before the task had ended"))
        self.embedded.close()

    def describe(self) -> str:
        """Return the state in a few words."""
        state = "shut down" if self._shut else "broken" if self._broken else "open"
        with self._lock:
            pending = sum(job.added - job.ended for job in self._submitted.values())
        return f"{state}, {pending + self._open_mappings} pending"

    def _close_when_idle(self) -> None:
        with self._idle:
            self._idle.wait_for(self._is_idle)
        self.embedded.close(in_order=True)

    def _is_idle(self) -> bool:
        idle = not self._open_mappings and all(job.is_idle for job in self._submitted.values())
        return idle and self._nursery.is_idle()

    def _check_open(self) -> None:
        if self._shut:
            raise RuntimeError(AFTER_SHUTDOWN)
        if self._broken is not None:
            raise self._broken

    # From any thread: what becomes of a call that nobody wants (submitted.Registry)

    def withdraw(self, job: SubmittedJob, index: int, *, kill: bool) -> None:
        """Give up a call whose future is cancelled already."""
        self.embedded.call_soon(self._withdraw, job, index, kill)

    def want_back(self, job: SubmittedJob, index: int, answered: threading.Event | None) -> None:
        """Try to take a call back from its node."""
        self.embedded.call_soon(self._want_back, job, index, answered)

    def want_no_more(self, job: SubmittedJob, index: int) -> None:
        """Let a call go on that could not be taken back in time."""
        self.embedded.call_soon(self._want_no_more, job, index)

    # In the loop's thread: calls

    def _take_calls(self) -> None:
        with self._lock:
            jobs, self._filled = self._filled, []
            self._woken = False
            taken = [(job, job.take()) for job in dict.fromkeys(jobs)]
        for job, batches in taken:
            if self._broken:
                job.fail_all(self._broken)
            else:
                self._add_calls(job, batches)

    def _add_calls(self, job: SubmittedJob, batches: Iterable[Batch]) -> None:
        if not job.job_id:
            job.job_id = self._open(job.function, job.name, job.options, job)
            self._by_use[job] = None
            self._close_oldest_idle()
        self._by_use.move_to_end(job)
        try:
            for batch in batches:
                if batch.items and job.job_id:
                    if self._reception.watching:
                        self._reception.tell_submitted(job.job_id, len(batch.items))
                    self.embedded.ventilator.add(job.job_id, batch.items, batch.form, batch.trace_id)
        except JournalError as error:
            self.broken(error)

    def _close_oldest_idle(self) -> None:
        """Keep few jobs open: a program may submit a million different lambdas."""
        if len(self._by_use) <= OPEN_JOBS or self._reception.kept:  # a journal knows a job by its place among its like
            return
        with self._lock:
            job = next((job for job in islice(self._by_use, OPEN_JOBS) if job.is_idle), None)
            if job is None:
                return
            job.closed = True
            del self._by_use[job], self._submitted[job.function, job.options]
        self.embedded.ventilator.close_job(job.job_id)

    def _job_idle(self) -> None:
        if self._shut:
            with self._idle:
                self._idle.notify_all()

    # In the loop's thread: calls that nobody wants

    def _has(self, job: SubmittedJob, index: int) -> bool:
        """Tell whether a call has not ended."""
        if index >= job.given:
            # Another thread announced this call, and has not come to it yet.
            self._take_calls()
        return job.has(index)

    def _withdraw(self, job: SubmittedJob, index: int, kill: bool) -> None:
        if self._has(job, index):
            job.drop(index)
            self._reception.tell_cancelled(job.job_id, index, index + 1)
            self.embedded.ventilator.cancel(job.job_id, index, index + 1, kill=kill)
            self._reception.answer(job.job_id, index, index + 1)

    def _want_back(self, job: SubmittedJob, index: int, answered: threading.Event | None) -> None:
        if not self._has(job, index):
            if answered is not None:
                answered.set()
            return
        if answered is not None:
            self._reception.expect_answer(job.job_id, index, answered)
        self.embedded.ventilator.request_cancel([Range(job.job_id, index, index + 1)])

    def _want_no_more(self, job: SubmittedJob, index: int) -> None:
        self.embedded.ventilator.withdraw_cancel([Range(job.job_id, index, index + 1)])
        self._reception.answer(job.job_id, index, index + 1)

    def _resume_queues(self) -> None:
        """Let go on what is paused: nobody is left who could, and the end waits for it."""
        for queue in self.embedded.ventilator.held_queues():
            logger.warning(
                "the queue %s was paused, and goes on: its client shuts down, which waits for its calls", queue
            )
            self.embedded.ventilator.hold(queue, held=False)

    def _cancel_all(self) -> None:
        self._take_calls()
        aboard: list[Range] = []
        for job in list(self._by_use):
            for start, stop in job.cancel_pending():
                self._reception.tell_cancelled(job.job_id, start, stop)
                self.embedded.ventilator.cancel(job.job_id, start, stop)
            aboard += [Range(job.job_id, *part) for part in job.left()]
        self.embedded.ventilator.request_cancel(aboard)

    # In the loop's thread: mappings

    def _add_to_mapping(self, box: list[JobId], items: Sequence[Any], form: payload.Form, trace_id: str) -> None:
        if box[0] in self._reception:
            if self._reception.watching:
                self._reception.tell_submitted(box[0], len(items))
            self.embedded.ventilator.add(box[0], items, form, trace_id)

    def _end_mapping(self, box: list[JobId]) -> None:
        if box[0] in self._reception:
            self.embedded.ventilator.close_job(box[0])

    def _mapping_ended(self) -> None:
        with self._idle:
            self._open_mappings -= 1
            self._idle.notify_all()

    # In the loop's thread

    def _open(
        self,
        function: bytes,
        name: str,
        options: TaskOptions,
        receiver: Receiver,
        on_end: Callable[[], None] = lambda: None,
    ) -> JobId:
        kin = Kin(receiver.kind, self._functions.fingerprint(function))
        return self._reception.open(function, name, options, receiver, on_end, kin=kin)

    def _begin(self, embedded: Embedded) -> None:
        refusal = NO_CHILDREN if embedded.resuming else ""
        self._nursery = Nursery(embedded.ventilator, self._reception, self._defaults, self._job_idle, refusal=refusal)

    def broken(self, error: ZmqtasksError) -> None:
        """End all calls with this error, and take no more."""
        with self._lock:
            self._broken = error
        if self._pending:
            self._pending.give_up()
        self._take_calls()
        for receiver in self._reception.forget_all():
            receiver.fail_all(error)
            if receiver.kind == Mapping.kind:
                self._mapping_ended()
        self._reception.answer_all()
