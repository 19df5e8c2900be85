"""One job from beginning to end: read arguments, hand them to the mesh, wait for the results, tell how it went.

Owns the order of these steps, the bound on what is read ahead, and what Ctrl-C means. The reading is done in the main
thread; results arrive in the loop's (`results.py`). Called by `run` and `ventilator`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from zmqtasks.cli.again import Again
from zmqtasks.cli.ahead import Ahead
from zmqtasks.cli.children import Children
from zmqtasks.cli.exits import Exit, Refusal, count, say
from zmqtasks.cli.functions import Function
from zmqtasks.cli.inputs import Argument, Source, Unreadable
from zmqtasks.cli.interrupts import Interrupts
from zmqtasks.cli.progress import Display
from zmqtasks.cli.results import Keeper, Results
from zmqtasks.cli.tally import Tally
from zmqtasks.embedded.output import OutputLine
from zmqtasks.embedded.thread import Embedded
from zmqtasks.embedded.where import Where
from zmqtasks.errors import JournalMismatch
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Load
from zmqtasks.options import KIB, TaskOptions
from zmqtasks.records import Value, replace
from zmqtasks.store import Store
from zmqtasks.ventilator.resuming import Kin

BATCH_TASKS = 1000
BATCH_BYTES = 256 * KIB
ITEM_BYTES = 64
"""What an argument weighs beside its text."""
POLL_S = 0.05
"""How often to look whether the last tasks have left the nodes, once nothing is sent any more."""
PATIENCE_S = 3600.0
"""How long the store may take to write the last results: its disk may be full for a while."""
CLOSE_S = 2.0
"""The same when nobody wants to wait."""


class Task(Value):
    """What is to be done.

    Args:
        function: what to call.
        source: with which arguments.
        keep_going: go on where an input is no argument.
        progress: show on a terminal how far it is.
        trace_id: of all tasks.
        defaults: options of calls that tasks spawn, where nobody says otherwise.
        has_door: whether somebody said where we listen, and wants to know where that is.
    """

    function: Function
    source: Source | Again
    keep_going: bool
    progress: bool = True
    trace_id: str = ""
    defaults: TaskOptions = TaskOptions()
    has_door: bool = False


class JobRun:
    """Run one job.

    Args:
        task: what is to be done.
    """

    def __init__(self, task: Task) -> None:
        self.tally = Tally()
        self._task = task
        self._store: Keeper | None = None
        self._children = Children(self.tally, task.defaults, self._notify)
        self._results = Results(self.tally, self._tasks_ended, self._stop_early, self._children)
        self._display = Display(lambda: self.tally, self._load, shown=task.progress, partial=self._partial)
        self._interrupts = Interrupts(self._on_interrupt)
        self._changed = threading.Condition()
        self._ahead = Ahead()
        self._batch: list[Argument] = []
        self._batch_bytes = 0
        self._embedded: Embedded | None = None
        self._job_id: JobId = ""
        self._earlier = 0
        """Tasks that the journal had when we began."""
        self._is_over = self._interrupted = self._gave_up = self._stopped_by_input = False

    # The store's side

    def deliver(self, callback: Callable[[], None]) -> None:
        """Call back in the loop's thread; for the writer of the store."""
        self._results.deliver(callback)

    def store_failed(self, error: Exception) -> None:
        """Hear that results could not be written."""
        self._results.store_failed(error)

    def run(self, where: Where, store: Keeper | None) -> Exit:
        """Do it all, close the store, and return the exit code.

        Args:
            where: nodes and sink.
            store: where results go; None where a standalone sink has them.

        Raises:
            NoNodes: no node answered.
            BindError: an address cannot be bound.
            KeyboardInterrupt: Ctrl-C came twice.
        """
        self._store = self._results.store = store
        patience_s = CLOSE_S
        with self._interrupts:
            try:
                self._embedded = Embedded(replace(where, on_output=self._printed), self._results)
                self._check_nodes(self._embedded)
                if self._task.has_door:
                    say(f"ready at {self._embedded.peer.address.endpoints[0]}, for zmqtasks queue")
                with self._display:
                    self._open_job()
                    self._feed()
                    self._finish()
                patience_s = PATIENCE_S
            finally:
                self._close(patience_s)
        self._report(self._display.elapsed_s)
        return self._exit_code()

    # Steps, in the main thread

    @staticmethod
    def _check_nodes(embedded: Embedded) -> None:
        for link in embedded.ventilator.nodes():
            if link.data.status and not link.data.status.load.workers:
                address = link.address.endpoints[0]
                raise Refusal(
                    Exit.CONNECT, f"{address} is a sink, not a node; the address of a sink is given by --sink"
                )

    def _open_job(self) -> None:
        assert self._embedded is not None
        function = self._task.function

        def open_job(embedded: Embedded) -> JobId:
            return embedded.ventilator.open_job(
                function.body,
                function.name,
                function.options,
                on_finish=self._results.finish,
                on_end=self._job_ended,
                on_restored=lambda start, stop: self._results.restored(self._job_id, start, stop),
                kin=Kin("input", function.code, self._recorded if self._store else None),
            )

        self._job_id = self._embedded.call(open_job, self._embedded)
        if resuming := self._embedded.resuming:
            self._earlier, done = resuming.totals(self._job_id)
            if self._earlier:
                say(f"the journal {resuming.journal.place} has {count(self._earlier, 'task')}, {done:,} of them done")
        if self._store:
            self._store.note_job(self._job_id, function.name)

    def _recorded(self, job: JobId) -> RangeSet:
        """Return which tasks the store has: it knows better than a journal."""
        assert isinstance(self._store, Store)
        recorded = self._store.recorded(job)
        self._results.earlier_failures = set(recorded.failed)
        ended = recorded.ok.copy()
        for task in recorded.failed:
            ended.add(task, task + 1)
        return ended

    def _feed(self) -> None:
        """Read arguments and hand them on, until there are no more or something ends the job."""
        for entry in self._task.source.read(self._interrupts.stop_fd, self._flush):
            if self._is_cut_short():
                return
            if isinstance(entry, Unreadable):
                say(f"error: {entry.where}: {entry.reason}")
                self.tally.unreadable += 1
                if not self._task.keep_going:
                    self._stopped_by_input = True
                    break
            else:
                self._take(entry)
        if not self._is_cut_short():
            self._flush()
            self._end_input()

    def _take(self, argument: Argument) -> None:
        self._batch.append(argument)
        self._batch_bytes += ITEM_BYTES + len(argument.text)
        if len(self._batch) >= BATCH_TASKS or self._batch_bytes >= BATCH_BYTES:
            self._flush()
            with self._changed:
                self._changed.wait_for(lambda: not self._ahead.is_full() or self._is_cut_short())

    def _flush(self) -> None:
        """Hand on what has been read, before more is waited for."""
        if not self._batch or self._is_cut_short():
            return
        assert self._embedded is not None
        batch, self._batch = self._batch, []
        start = self.tally.added
        with self._changed:
            self._ahead.add(start, start + len(batch), self._batch_bytes)
        self.tally.added += len(batch)
        self._batch_bytes = 0
        if self._store:
            self._store.remember_inputs(self._job_id, start, [argument.text for argument in batch])
        items = [argument.item for argument in batch]
        add, form, trace_id = self._embedded.ventilator.add, self._task.source.form, self._task.trace_id
        self._embedded.call_soon(add, self._job_id, items, form, trace_id)

    def _end_input(self) -> None:
        assert self._embedded is not None
        if self.tally.added < self._earlier:
            what = f"it has {count(self._earlier, 'task')}, the input {self.tally.added:,}"
            place = self._embedded.resuming and self._embedded.resuming.journal.place
            raise JournalMismatch(f"the journal {place} is of other input: {what}; give the same input")
        self.tally.exhausted = True
        if self._store:
            self._store.note_job(self._job_id, self._task.function.name, self.tally.added)
        self._embedded.call_soon(self._embedded.ventilator.close_job, self._job_id)

    def _finish(self) -> None:
        """Wait until all has ended; after Ctrl-C, until what had begun has."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended() or self._is_cut_short())
        if self._results.error is None and not self._has_ended():
            self._drain()
        self._wait_while(lambda: self._embedded is not None and not self._embedded.ventilator.flushed())

    def _has_ended(self) -> bool:
        """Tell whether the job has, and all that its tasks have spawned."""
        return self._is_over and self._children.is_idle()

    def _drain(self) -> None:
        assert self._embedded is not None
        self._gave_up = True
        say("interrupted: what runs is finished, nothing new begins; Ctrl-C again stops at once")
        self._embedded.call(self._give_up_the_rest)
        self._wait_while(self._embedded.ventilator.aboard)

    def _wait_while(self, condition: Callable[[], object]) -> None:
        assert self._embedded is not None
        while self._results.error is None and self._embedded.call(condition):
            with self._changed:
                self._changed.wait(POLL_S)

    def _close(self, patience_s: float) -> None:
        try:
            if self._embedded:
                self._embedded.close(in_order=not self._is_cut_short())
        finally:
            if self._store:
                self._store.close(patience_s)

    def _is_cut_short(self) -> bool:
        return self._interrupted or self._results.error is not None

    # In a signal handler

    def _on_interrupt(self) -> None:
        if self._embedded is None:
            raise KeyboardInterrupt
        self._interrupted = True
        self._embedded.call_soon(self._notify)

    # In the thread that output comes in

    def _printed(self, line: OutputLine) -> None:
        self._display.show(f"{line.label} {line.text}")

    # In the loop's thread

    def _give_up_the_rest(self) -> None:
        assert self._embedded is not None
        self._results.drain()
        self._embedded.ventilator.cancel(self._job_id, 0, self.tally.added)

    def _tasks_ended(self, start: int, stop: int) -> None:
        with self._changed:
            self._ahead.end(start, stop)
            self._changed.notify_all()

    def _job_ended(self, task_s: float | None) -> None:
        self._is_over = True
        self._notify()

    def _stop_early(self) -> None:
        self._interrupts.stop_reading()
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # How it went

    def _load(self) -> tuple[int, int]:
        """Return how many workers are busy, and how many there are."""
        loads = self._loads()
        return sum(load.busy for load in loads), sum(load.workers for load in loads)

    def _partial(self) -> float:
        return sum(load.partial for load in self._loads())

    def _loads(self) -> list[Load]:
        nodes = self._embedded.ventilator.nodes() if self._embedded else []
        return [link.data.status.load for link in nodes if link.data.status]

    def _report(self, elapsed_s: float) -> None:
        """Say what a person at a terminal wants to know, and in a pipe only what went wrong."""
        tally, error = self.tally, self._results.error
        if isinstance(error, BrokenPipeError):
            return
        if self._gave_up:
            say(f"interrupted: {count(tally.ended, 'task')} ended, the rest was given up")
            if self._embedded and (journal := self._embedded.journal):
                say(f"to go on, give the same command again: the journal {journal.place} knows what is done")
        elif self._task.progress and sys.stderr.isatty():
            rate = tally.ended / max(elapsed_s, 1e-3)
            spawned = f", and {count(tally.spawned()[0], 'call')} of tasks" if tally.spawned()[1] else ""
            say(f"{tally.done:,} done, {tally.failed:,} failed{spawned} in {elapsed_s:.1f} s: {rate:,.0f} tasks/s")
        if tally.failed:
            say(f"{tally.failed:,} of {count(tally.added, 'task')} failed; first: {tally.first_failure}")
        if tally.spawned_failed:
            calls = f"{tally.spawned_failed:,} of {count(tally.spawned()[1], 'call')} that tasks have spawned"
            say(f"{calls} failed, and no task waited for it; first: {tally.first_spawned_failure}")
        if tally.unreadable and not self._stopped_by_input:
            say(f"{count(tally.unreadable, 'input')} could not be read, and left out")

    def _exit_code(self) -> Exit:
        """Return what the process exits with.

        Raises:
            Exception: what ended the job early.
        """
        error = self._results.error
        if isinstance(error, BrokenPipeError):
            return Exit.READER_GONE
        if error is not None:
            raise error
        if self._gave_up:
            return Exit.INTERRUPTED
        if self._stopped_by_input:
            return Exit.USAGE
        failed = self.tally.failed or self.tally.unreadable or self.tally.spawned_failed
        return Exit.FAILED if failed else Exit.OK
