"""Runs chunks in a worker: opens arguments, calls the function, packs what comes of it.

Owns the jobs a worker knows, the progress slot and the results not sent yet. Never touches a socket or a process: the
caller gives `send`. An exception of a task, whatever it is, becomes that task's outcome, or what it asks for;
`worker.py` calls it.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, NamedTuple, cast

from zmqtasks.control import Parting
from zmqtasks.errors import (
    ControlFlow,
    HomeLost,
    NotAuthorised,
    RequeueRequested,
    RespawnRequested,
    RetryRequested,
    SerializationError,
    StopRequested,
    TaskInterrupted,
    TaskTimeout,
    TooBig,
)
from zmqtasks.machines.blame import pause_s
from zmqtasks.messages import Body, Chunk, Job, JobId, Outcome, OutcomeKind, PeerId
from zmqtasks.options import KIB, MIB, Limits, TaskOptions
from zmqtasks.processes.allowed import Allowed
from zmqtasks.processes.claims import LONG_NS, Claims
from zmqtasks.processes.exits import own_peak_bytes
from zmqtasks.processes.loops import CALLS, CALLS_OF_FOUR, TINY_NS, CallEach, Ended, Function, Values
from zmqtasks.processes.messenger import Messenger
from zmqtasks.processes.progress import ATTEMPT, CHUNK, INDEX, PHASE, STARTED, WorkPhase
from zmqtasks.processes.running import AtHand, as_timeout
from zmqtasks.processes.task_objects import TaskObjects
from zmqtasks.wire import payload
from zmqtasks.wire.payload import Form

logger = logging.getLogger(__name__)

FLUSH_NS = 5_000_000
"""Results wait no longer than this for company; the first ones of a long chunk are on their way while it runs."""
FLUSH_BYTES = MIB
MOST_VALUES = 10_000
_GROWTH = 16
"""How much more results than last time are packed together: the first one of a job tells how large they are."""

IDLE, LOADING, RUNNING, PACKING, IMPORTING = (int(phase) for phase in WorkPhase)


class _Job:
    """A job in this worker: its function is opened at its first chunk, and a failure to do so is kept."""

    def __init__(
        self, job: Job, own_host: str, objects: TaskObjects, allowed: Allowed, refused: Callable[[JobId, str], None]
    ) -> None:
        self._id = job.id
        self._objects = objects
        self._refused = refused
        self._allowed = allowed
        self.name, self.options = job.name, job.options
        self.serializer = job.options.serializer
        self.compression = job.options.compression
        self.leaves_host = job.sink.host != own_host
        self.one_by_one = not job.options.retry
        self.batch = 1
        limits = (job.options.timeout, job.options.stall_timeout, job.options.max_memory)
        self._watched = self.one_by_one or any(bound is not None for bound in limits)
        self._tiny = False
        self.task_ns = LONG_NS
        """What one of the last tasks took."""
        self._packed = job.function
        self._function: Function | None = None
        self._failure: BaseException | None = None
        self._judge: Callable[[BaseException], bool] | None = None
        """Tells which exceptions are worth another run."""

    def function(self) -> Function:
        if self._failure is not None:
            raise self._failure
        if self._function is None:
            try:
                function = self._allowed.open(self._packed, self.serializer)
            except BaseException as error:  # importing runs the user's code: it may even call sys.exit()
                self._failure = error
                if isinstance(error, NotAuthorised):
                    self._refused(self._id, str(error))
                raise
            self._function = self._objects.called_for(function)
            self._packed = b""
        return self._function

    def runs_again(self, error: BaseException, runs: int) -> bool | None:
        """Tell whether a task that was run so often before is run again if it raises this; None for no retries."""
        options = self.options
        if isinstance(error, RetryRequested):
            return not 0 < options.retries <= runs
        if not options.retry or not options.retries or not self._is_worth_it(error):
            return None
        return runs < options.retries

    def _is_worth_it(self, error: BaseException) -> bool:
        if self.options.retry_on is None:
            return True
        if self._judge is None:
            try:
                self._judge = self._allowed.open_judge(self.options.retry_on, self.serializer)
            except BaseException as refusal:
                logger.warning("retry_on cannot be opened here, and counts as no: %s", refusal)
                self._judge = lambda error: False
        return self._judge(TaskTimeout() if isinstance(error, TaskInterrupted) else error)

    def loop_for(self, form: Form, waiting: int) -> tuple[CallEach, int]:
        """Return the loop for the next of so many tasks that wait, and how many it may take."""
        number = min(self.batch, waiting)
        if self._tiny and number >= 4 and form in CALLS_OF_FOUR:
            return CALLS_OF_FOUR[form], number // 4 * 4
        return CALLS[form], number

    def measure_time(self, results: int, elapsed_ns: int) -> None:
        """Take note of how long tasks took: those that somebody watches are never taken for tiny."""
        self._tiny = not self._watched and elapsed_ns < TINY_NS * results
        self.task_ns = elapsed_ns // max(1, results)

    def measure(self, results: int, nbytes: int) -> None:
        """Choose how many results to pack together next, from what the last ones took."""
        fitting = FLUSH_BYTES * results // max(1, nbytes)
        self.batch = 1 if self.one_by_one else max(1, min(fitting, self.batch * _GROWTH, MOST_VALUES))


class At(NamedTuple):
    """The chunk at hand."""

    chunk: Chunk
    job: _Job


class Execution:
    """Runs one chunk after the other.

    Args:
        send: takes outcomes away, at once and in order.
        slot: where progress is shown, as given by `slot_of`.
        node: peer id that goes into the outcomes.
        host: identity of this host; results to a sink elsewhere are worth compressing.
        limits: what the sink takes in one message.
        pool: where large results are put; `send` lends them, and does not copy them.
        stop_node: called where a task asks for the end of its node.
        why_leave: asked each time some tasks have ended, with the monotonic time in ns: why this worker should end.
        skipped: told where it passes over tasks that were taken back, see `Claims`.
        refused: told once of a job whose function is not called here, and why.
    """

    def __init__(
        self,
        send: Callable[[tuple[Outcome, ...]], None],
        slot: memoryview,
        *,
        node: PeerId,
        host: str,
        limits: Limits,
        pool: payload.Pool | None = None,
        stop_node: Callable[[], None] = lambda: None,
        why_leave: Callable[[int], str] | None = None,
        skipped: Callable[[int, int], None] = lambda first, until: None,
        refused: Callable[[JobId, str], None] = lambda job, why: None,
    ) -> None:
        self.leaving = ""
        """Why this worker starts nothing more; nothing while all is well."""
        self._send = send
        self._slot = slot
        self._node = node
        self._host = host
        self._limits = limits
        self._pool = pool
        self._stop_node = stop_node
        self._refused = refused
        self.allowed = Allowed()
        """What may be called; a worker is told before its first job."""
        self.why_leave = why_leave
        """As given; a worker may find a reason later."""
        self._most_bytes = limits.message_bytes - 64 * KIB  # leaves room for the header of the message
        self._jobs: dict[JobId, _Job] = {}
        self._outcomes: list[Outcome] = []
        self._outcome_bytes = 0
        self._sent_ns = 0
        self.at_hand = AtHand()
        self.messenger: Messenger | None = None
        """Told whose task is at hand."""
        self.objects = TaskObjects(stop_node)
        self._claims = Claims(slot, skipped)

    @property
    def is_busy(self) -> bool:
        """Whether a chunk is at hand."""
        return self._slot[PHASE] != IDLE

    @property
    def chunks(self) -> int:
        """How many were begun."""
        return self._slot[CHUNK]

    def take_place(self, slot: memoryview) -> None:
        """Show progress in this slot from now on."""
        self._slot = slot
        self._claims.take_place(slot)

    def add_job(self, job: Job) -> None:
        """Make a job known."""
        self._jobs[job.id] = _Job(job, self._host, self.objects, self.allowed, self._refused)

    def options_of(self, job: JobId) -> TaskOptions:
        """Return the options of a job that has not ended."""
        return self._jobs[job].options

    def end_job(self, job: JobId) -> None:
        """Forget a job; unknown ones are no matter."""
        self._jobs.pop(job, None)

    def pass_by(self, chunk: Chunk) -> None:
        """Begin nothing of a chunk: it has gone to others."""
        self._claims.pass_by(chunk.stop - chunk.start)

    def run(self, chunk: Chunk) -> None:
        """Run the tasks of a chunk whose job is known; when this returns, all outcomes have been sent.

        What was taken back meanwhile is passed over. Where `leaving` is set then, the rest of the chunk was not begun.
        """
        at = self._begin_chunk(chunk)
        if at is None:
            return
        opened = self._open(at)
        if opened is not None:
            self._run_all(at, *opened)
        self._end_chunk()

    def _end_chunk(self) -> None:
        """Tell all that is untold, and that nothing is at hand any more."""
        self._flush()
        if self.messenger is not None:
            self.messenger.task_ended()
        self._slot[PHASE] = IDLE

    def _begin_chunk(self, chunk: Chunk) -> At | None:
        """Show that a chunk is at hand; return None where nothing of it may be begun."""
        slot = self._slot
        slot[STARTED] = self._sent_ns = monotonic_ns()
        slot[INDEX], slot[ATTEMPT] = chunk.start, chunk.attempt
        slot[CHUNK] += 1
        self._claims.open(chunk.start, chunk.stop)
        if self._claims.claim(chunk.start, chunk.start + 1) == chunk.start:
            return None
        if self.messenger is not None:
            self.messenger.task_begun(chunk.job, self._jobs[chunk.job].options)
        slot[PHASE] = IMPORTING  # last: until now the slot says that nothing runs
        return At(chunk, self._jobs[chunk.job])

    def _open(self, at: At) -> tuple[Function, payload.Unpacked] | None:
        """Return the function and the arguments of a chunk; None where its tasks have failed over that."""
        chunk = at.chunk
        first, last = chunk.start - chunk.origin, chunk.stop - chunk.origin
        try:
            function = at.job.function()
            self._slot[STARTED] = monotonic_ns()
            self._slot[PHASE] = LOADING
            return function, payload.unpack(
                chunk.body, first=first, last=last, limits=self._limits, serializer=at.job.serializer
            )
        except BaseException as error:
            self._fail(at, chunk.start, self._claims.claim(chunk.start, chunk.stop), error, 0)
            return None

    def _run_all(self, at: At, function: Function, items: payload.Unpacked) -> None:
        """Run the tasks of a chunk that is open."""
        chunk, done = at.chunk, 0
        for bad in sorted(items.errors):
            self._run_stretch(at, function, items.form, items.values[done:bad], chunk.start + done)
            index = chunk.start + bad
            if self.leaving or self._claims.claim(index, index + 1) == index:
                return
            self._fail(at, index, index + 1, items.errors[bad], 0)
            done = bad + 1
        self._run_stretch(at, function, items.form, items.values[done:] if done else items.values, chunk.start + done)

    def _run_stretch(self, at: At, function: Function, form: Form, values: Values, start: int) -> None:
        """Run consecutive tasks whose arguments are good; go on after each one that fails."""
        slot = self._slot
        done, count = 0, len(values)
        while done < min(count, self._claims.end - start) and not self.leaving:
            call, batch = self._claimed(at.job, form, values, done, start + done)
            if not batch:
                return
            results: list[Any] = []
            self.at_hand.begin(at.chunk, start + done, results, at.job)
            begun_ns = self._begin(start + done)
            ended_ns, failure = self._call(call, function, batch, results)
            self.at_hand.end()
            at.job.measure_time(len(results), ended_ns - begun_ns)
            slot[STARTED] = now = monotonic_ns()
            slot[INDEX] = start + done + len(results) + (failure is not None)
            slot[PHASE] = PACKING
            self._succeed(at, start + done, results, ended_ns - begun_ns)
            done += len(results)
            if failure is not None:
                self._end_raised(at, start + done, failure, now - ended_ns)
                done += 1
            self._flush_if_due(at.job)
            if self.why_leave is not None and not self.leaving:
                self.leaving = self.why_leave(now)

    def _call(self, call: CallEach, function: Function, batch: Values, results: list[Any]) -> Ended:
        """Have a loop call the tasks of a batch; return when the last that is done ended, and what the next raised."""
        try:
            return call(function, batch, self._slot, results, self._sent_ns + FLUSH_NS)
        except TaskInterrupted as error:  # it came while the loop was entered or left
            return monotonic_ns(), error

    def _claimed(self, job: _Job, form: Form, values: Values, done: int, index: int) -> tuple[CallEach, Values]:
        """Return the loop for the next tasks, and those values that may be begun: none where they were taken back."""
        claims, waiting = self._claims, len(values) - done
        if job.task_ns >= LONG_NS:
            batch = values[done : done + min(waiting, job.batch)]
            if claims.claim(index, index + 1) == index:
                return CALLS[form], ()
            # The exact loops only iterate.
            return CALLS[form], cast("Values", claims.one_by_one(batch, index)) if len(batch) > 1 else batch
        call, number = job.loop_for(form, min(waiting, max(1, FLUSH_NS // max(1, job.task_ns))))
        allowed = claims.claim(index, index + number) - index
        return call if allowed == number else CALLS[form], values[done : done + allowed]

    def _begin(self, index: int) -> int:
        slot = self._slot
        slot[STARTED] = now = monotonic_ns()
        slot[INDEX] = index
        slot[PHASE] = RUNNING
        return now

    def _end_raised(self, at: At, index: int, error: BaseException, elapsed_ns: int) -> None:
        """End a task that raised: as it asks for, or as a failure."""
        elapsed_s = elapsed_ns / 1e9
        match error if issubclass(type(error), ControlFlow) else None:  # the class itself: __class__ may lie
            case RetryRequested(delay_s=delay_s):
                self._add(at, index, index + 1, OutcomeKind.RETRY, b"", elapsed_s, float(delay_s))
            case RequeueRequested(delay_s=delay_s):
                self._add(at, index, index + 1, OutcomeKind.RETURNED, b"", elapsed_s, float(delay_s))
            case RespawnRequested():
                self.leave()  # of the task itself nothing is told: it was not run
            case Parting(value=value, error=ended, stop=stop):
                self.leave(stop=stop)
                if ended is None:
                    self._succeed(at, index, [value], elapsed_ns)
                else:
                    self._end_raised(at, index, ended, elapsed_ns)
            case StopRequested(hand_back=hand_back):
                self._stop_node()  # before the outcome: a task that is handed back shall not come back here
                if hand_back:
                    self._add(at, index, index + 1, OutcomeKind.RETURNED, b"", elapsed_s)
                else:
                    self._succeed(at, index, [None], elapsed_ns)
            case _ if issubclass(type(error), HomeLost) and at.job.options.retry:
                self._add(at, index, index + 1, OutcomeKind.RETURNED, b"", elapsed_s)  # its program can answer again
            case _:
                self._fail(at, index, index + 1, error, elapsed_ns)

    def leave(self, *, stop: bool = False) -> None:
        """Begin nothing more, because a task or an object asked for it; with `stop`, the node shall end instead."""
        if stop:
            self._stop_node()
        else:
            self.leaving = "a task asked for it"

    def _succeed(self, at: At, start: int, results: list[Any], elapsed_ns: int) -> None:
        if not results:
            return
        before = self._outcome_bytes
        for run in self._pack(at.job, results):
            first, stop = start + run.start, start + run.stop
            share_s = elapsed_ns * (run.stop - run.start) / len(results) / 1e9
            if run.body is None:
                self._fail(at, first, stop, run.error or TooBig("the result is too large"), round(share_s * 1e9))
            else:
                self._add(at, first, stop, OutcomeKind.OK, run.body, share_s)
        at.job.measure(len(results), self._outcome_bytes - before)

    def _pack(self, job: _Job, results: list[Any]) -> list[payload.Run]:
        try:
            return payload.pack(
                results,
                form=Form.ONE,
                serializer=job.serializer,
                compression=payload.choose(job.compression, self._most_bytes, job.leaves_host),
                most_bytes=self._most_bytes,
                cut_bytes=FLUSH_BYTES,
                pool=self._pool,
            )
        except BaseException as error:  # KeyboardInterrupt from a result's __reduce__, say: it harms only itself
            if len(results) == 1:
                told = SerializationError(f"packing the result raised {type(error).__name__}: {error}")
                told.__cause__ = error
                return [payload.Run(0, 1, None, told)]
        singles = [self._pack(job, [result])[0] for result in results]
        return [payload.Run(place, place + 1, run.body, run.error) for place, run in enumerate(singles)]

    def _fail(self, at: At, start: int, stop: int, error: BaseException, elapsed_ns: int) -> None:
        """Add the outcome of each task in [start, stop), which share one cause."""
        if issubclass(type(error), MemoryError):  # isinstance() asks the error for its class, and it may lie
            traceback.clear_frames(error.__traceback__)  # their locals hold the memory that is needed to report it
        kind = OutcomeKind.TOO_BIG if issubclass(type(error), TooBig) else OutcomeKind.ERROR
        if issubclass(type(error), TaskInterrupted):
            kind, error = OutcomeKind.TIMEOUT, as_timeout(cast("TaskInterrupted", error), node=self._node)
        if (
            kind is OutcomeKind.ERROR
            and at.job.options.retry_on is not None
            and at.job.runs_again(error, at.chunk.runs)
        ):
            self._ask_for_more(at, start, stop, elapsed_ns)
            return
        body = payload.pack_failure(error, serializer=at.job.serializer, exit_known=self._place(error))
        if len(body) > self._most_bytes:
            kind = OutcomeKind.TOO_BIG
            body = payload.pack_failure(TooBig(f"the {type(error).__qualname__} it raised takes {len(body)} bytes"))
        for index in range(start, stop):
            self._add(at, index, index + 1, kind, body, elapsed_ns / 1e9)

    def _ask_for_more(self, at: At, start: int, stop: int, elapsed_ns: int) -> None:
        """Have tasks run again that have failed: where `retry_on` says which, the ventilator cannot know it."""
        chunk = at.chunk
        for index in range(start, stop):
            delay_s = pause_s(at.job.options, chunk.job, index, chunk.runs)
            self._add(at, index, index + 1, OutcomeKind.RETRY, b"", elapsed_ns / 1e9, delay_s)

    def _place(self, error: BaseException) -> dict[str, Any]:
        """Return where a task called `sys.exit()`: what is told of other deaths is told of this one, too."""
        if not issubclass(type(error), SystemExit):
            return {}
        return {"node": self._node, "pid": os.getpid(), "peak_bytes": own_peak_bytes()}

    def _add(
        self, at: At, start: int, stop: int, kind: OutcomeKind, body: Body, elapsed_s: float, delay_s: float = 0.0
    ) -> None:
        if self._outcome_bytes + len(body) > self._most_bytes:
            self._flush()
        job, attempt = at.chunk.job, at.chunk.attempt
        self._outcomes.append(Outcome(job, attempt, self._node, start, stop, kind, elapsed_s, body, delay_s))
        self._outcome_bytes += len(body)

    def _flush_if_due(self, job: _Job) -> None:
        due = monotonic_ns() - self._sent_ns > FLUSH_NS
        if due or job.one_by_one or self._outcome_bytes > FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._outcomes:
            outcomes = tuple(self._outcomes)
            self._outcomes.clear()
            self._outcome_bytes = 0
            self._send(outcomes)
        self._sent_ns = monotonic_ns()
