"""Which job a result belongs to, and who is told of it: the `Collector` of an `Embedded`.

Owns the receivers of jobs, failures until the ventilator has judged them, and who waits to hear whether a call was
taken back. Everything happens in the loop's thread. Called by `registry.py`, and by a command for calls of its tasks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from zmqtasks.embedded.functions import KNOWN_FUNCTIONS
from zmqtasks.embedded.journalled import Kept
from zmqtasks.embedded.thread import Embedded
from zmqtasks.embedded.watched import Receiver, WatchedReceiver
from zmqtasks.embedded.watching import Watching
from zmqtasks.errors import JournalError, ZmqtasksError
from zmqtasks.machines.collection import Record
from zmqtasks.machines.dispatch_moves import Finish
from zmqtasks.messages import JobId, Outcome, OutcomeKind
from zmqtasks.options import Limits, TaskOptions
from zmqtasks.ventilator.resuming import Kin
from zmqtasks.wire import payload


class Reception:
    """Open jobs, and hand on what becomes of their tasks.

    Args:
        watching: who watches the calls, if anybody does.
        on_broken: told that all calls end with an error.
        on_begin: called when jobs can be opened, before any result comes.
    """

    embedded: Embedded
    """Set before any job."""

    def __init__(
        self,
        watching: Watching | None,
        on_broken: Callable[[ZmqtasksError], None],
        on_begin: Callable[[Embedded], None] = lambda embedded: None,
    ) -> None:
        self.kept: Kept | None = None
        """Results in a journal."""
        self.watching = watching
        self.broken = on_broken
        self._on_begin = on_begin
        self._receivers: dict[JobId, Receiver] = {}
        self._failures: dict[tuple[JobId, int], Outcome] = {}
        self._unanswered: dict[tuple[JobId, int], list[threading.Event]] = {}
        """Threads that wait in `TaskFuture.cancel`, by task."""
        self._durations: dict[tuple[bytes, TaskOptions], float] = {}

    def __contains__(self, job_id: JobId) -> bool:
        return job_id in self._receivers

    @property
    def has_jobs(self) -> bool:
        """Tell whether any job is open."""
        return bool(self._receivers)

    # Jobs

    def open(
        self,
        function: bytes,
        name: str,
        options: TaskOptions,
        receiver: Receiver,
        on_end: Callable[[], None] = lambda: None,
        *,
        kin: Kin | None = None,
    ) -> JobId:
        """Open a job for a receiver; return "" where the journal does not allow it, and all calls have ended."""
        watched = self.watching.watch(receiver, name) if self.watching else None
        job = _ReceivedJob(self, (function, options), watched or receiver, on_end)
        try:
            job.id = self.embedded.ventilator.open_job(
                function,
                name,
                options,
                on_finish=job.finish,
                on_sent=job.receiver.sent,
                on_end=job.end,
                on_denied=job.denied,
                on_restored=job.restored,
                task_s=self._durations.get((function, options)),
                kin=kin,
            )
        except JournalError as error:
            self.broken(error)
            job.receiver.fail_all(error)
            on_end()
            return ""
        self._receivers[job.id] = job.receiver
        if kin and kin.earlier and self.kept:  # what nodes tell again is no news
            self.embedded.sink.resume(job.id, self.kept.ended(job.id), {})
        if self.watching and watched:
            self.watching.job_opened(job.id, watched)
        return job.id

    def job_ended(self, job: _ReceivedJob, task_s: float | None) -> None:
        """All tasks of a job have ended, and took so long in the mean."""
        if task_s is not None and len(self._durations) < KNOWN_FUNCTIONS:
            self._durations[job.key] = task_s
        if self._receivers.pop(job.id, None) is None:
            return
        self.embedded.sink.forget(job.id)
        if self.watching:
            self.watching.job_ended(job.id)
        job.on_end()

    def forget_all(self) -> list[Receiver]:
        """Forget all jobs; return who was to be told of them."""
        receivers, self._receivers = self._receivers, {}
        return list(receivers.values())

    # Who waits for an answer

    def expect_answer(self, job_id: JobId, index: int, answered: threading.Event) -> None:
        """Set this event once it is decided whether a call was taken back."""
        self._unanswered.setdefault((job_id, index), []).append(answered)

    def answer(self, job_id: JobId, start: int, stop: int) -> None:
        """Tell those who wait in `cancel` that it is decided."""
        for index in range(start, stop) if self._unanswered else ():
            for answered in self._unanswered.pop((job_id, index), ()):
                answered.set()

    def answer_all(self) -> None:
        """Tell everybody who waits in `cancel`: nothing is decided any more."""
        for job_id, index in list(self._unanswered):
            self.answer(job_id, index, index + 1)

    # Who watches

    def tell_submitted(self, job_id: JobId, count: int) -> None:
        """Tell who watches a job of calls that were added."""
        receiver = self._receivers.get(job_id)
        if isinstance(receiver, WatchedReceiver):
            receiver.submitted(count)

    def tell_cancelled(self, job_id: JobId, start: int, stop: int) -> None:
        """Tell who watches a job of calls that were cancelled by their caller."""
        receiver = self._receivers.get(job_id)
        if isinstance(receiver, WatchedReceiver):
            receiver.cancelled_alone(start, stop)

    # Results

    def begin(self, embedded: Embedded, *, waits: bool = True) -> None:
        """Keep results in the journal, if there is one; see `Kept`."""
        self.embedded = embedded
        self.kept = Kept(embedded.resuming, waits=waits) if embedded.resuming else None
        self._on_begin(embedded)

    def opened(self) -> None:
        """Hear that nodes have answered: what they hold is known where its job is opened."""

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Hand successes on; keep failures until the ventilator has judged them."""
        self.keep(records, lambda: self.hand_on(records, partial(self._tell_stored, records, on_stored)))

    def keep(self, records: Sequence[Record], then: Callable[[], None]) -> None:
        """Write results in the journal, if there is one; then go on."""
        if self.kept:
            self.kept.record(records, then)
        else:
            then()

    def failures_of(self, finish: Finish) -> list[Outcome | None]:
        """Return the failures of tasks that have ended, once.

        One that was not final is kept until its task has ended: after a broken session it may come again.
        """
        if not self._failures:
            return []
        return [self._failures.pop((finish.job, index), None) for index in range(finish.start, finish.stop)]

    def hand_on(self, records: Sequence[Record], tell: Callable[[], None]) -> None:
        """Hand on what was kept, and have `tell` let the sink book it.

        At once where a job may be opened in between: it is given what is booked by then, and told of what is not.
        """
        tried: list[tuple[WatchedReceiver, Outcome]] = []
        for record in self.kept.known(records) if self.kept else records:
            outcome = record.outcome
            receiver = self._receivers.get(outcome.job)
            if outcome.kind is not OutcomeKind.OK:
                self._failures[outcome.job, outcome.start] = outcome
                if isinstance(receiver, WatchedReceiver):
                    receiver.tried(outcome.start, outcome.node, outcome.attempt, outcome)
                    tried.append((receiver, outcome))
            elif receiver is not None:
                receiver.succeed(outcome, record.start, record.stop)
        tell()
        for watched, outcome in tried:
            goes_on = self._failures.get((outcome.job, outcome.start)) is outcome
            watched.judged(outcome.start) if goes_on else watched.ended(outcome.start)

    def _tell_stored(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Let the sink book what was handed on: after the next call was sent, if all that is here is one result."""
        if self.kept:  # it has waited for the disk already, and perhaps we are not complete yet
            on_stored()
            return
        ventilator = self.embedded.ventilator
        alone = len(records) == 1 and records[0].stop == records[0].start + 1
        if alone and records[0].outcome.kind is OutcomeKind.OK and ventilator.is_idle():
            ventilator.afterwards.put(on_stored)
        else:
            ventilator.afterwards.do()
            on_stored()


class _ReceivedJob:
    """What a ventilator tells of one job, on its way to the receiver."""

    def __init__(
        self,
        reception: Reception,
        key: tuple[bytes, TaskOptions],
        receiver: Receiver,
        on_end: Callable[[], None],
    ) -> None:
        self.id: JobId = ""
        self.key = key
        self.receiver = receiver
        self.on_end = on_end
        self._reception = reception
        self._kept = reception.kept

    def finish(self, finish: Finish, error: BaseException | None) -> None:
        receiver, kept = self.receiver, self._kept
        failures = self._reception.failures_of(finish)
        if finish.kind is OutcomeKind.RETURNED:
            receiver.cancelled(finish.start, finish.stop)
        elif finish.kind is not OutcomeKind.OK and kept:
            kept.fail(finish, error, failures, lambda: self._fail(finish, error, failures))
        elif finish.kind is not OutcomeKind.OK:
            self._fail(finish, error, failures)
        self.denied(finish.start, finish.stop)

    def _fail(self, finish: Finish, error: BaseException | None, failures: Sequence[Outcome | None]) -> None:
        if error is None:
            assert failures, finish
            assert failures[0] is not None, finish
            error = payload.unpack_failure(failures[0].body, Limits(), self.receiver.serializer)
        self.receiver.fail(finish.start, finish.stop, error, failures[0] if failures else None)

    def denied(self, start: int, stop: int) -> None:
        self._reception.answer(self.id, start, stop)

    def end(self, task_s: float | None) -> None:
        if self._kept:
            self._kept.after(lambda: self._reception.job_ended(self, task_s))
        else:
            self._reception.job_ended(self, task_s)

    def restored(self, start: int, stop: int) -> None:
        assert self._kept is not None
        self.receiver.sent(start, stop, 0)
        for record in self._kept.records(self.id, start, stop):
            if record.outcome.kind is OutcomeKind.OK:
                self.receiver.succeed(record.outcome, record.start, record.stop)
            else:
                error = payload.unpack_failure(record.outcome.body, Limits(), self.receiver.serializer)
                self.receiver.fail(record.start, record.stop, error)
