"""One lane of a worker that runs several tasks at once: what it runs, what its tasks say, how they are interrupted.

Owns which lane the code that asks stands in. Never reads the socket, and starts no thread. `laned.py` makes lanes.
"""

from __future__ import annotations

import asyncio
import ctypes
import queue
import threading
from contextvars import ContextVar
from time import monotonic_ns
from typing import Any

from zmqtasks import control
from zmqtasks.errors import TaskInterrupted
from zmqtasks.messages import Chunk, JobId, Tasks
from zmqtasks.options import TaskOptions
from zmqtasks.processes.execution import FLUSH_NS, PACKING, At, Execution
from zmqtasks.processes.loops import CallEach, Ended, Function, Values
from zmqtasks.processes.messenger import Messenger, Place
from zmqtasks.processes.progress import INDEX, PHASE, STARTED
from zmqtasks.processes.running import RunningTask, Shield
from zmqtasks.wire.payload import Form

here: ContextVar[Lane | None] = ContextVar("here", default=None)
"""The lane that the calling code runs in; None in threads that a task has started."""


class Lane:
    """One task at a time, among others."""

    def __init__(self, execution: LanedExecution, running: RunningTask, number: int) -> None:
        self.execution = execution
        self.running = running
        self.orders: queue.SimpleQueue[Tasks | None] = queue.SimpleQueue()
        self.job: JobId = ""
        self.options = TaskOptions()
        self.place = Place(number)
        self.ident: int | None = None
        """Of its thread."""


class LanedMessenger(Messenger):
    """Asks for the task of whichever lane calls it."""

    _job: JobId = ""
    _options = TaskOptions()

    @property
    def job(self) -> JobId:
        """Of the task at hand in this lane; elsewhere, of the last one that began in any."""
        lane = here.get()
        return lane.job if lane else self._job

    @job.setter
    def job(self, job: JobId) -> None:
        self._job = job
        if lane := here.get():
            lane.job = job

    @property
    def options(self) -> TaskOptions:
        """Of that job."""
        lane = here.get()
        return lane.options if lane else self._options

    @options.setter
    def options(self, options: TaskOptions) -> None:
        self._options = options
        if lane := here.get():
            lane.options = options

    def place(self) -> Place | None:
        """Return the place of the lane that calls this; a thread that a task has started has none."""
        lane = here.get()
        return lane.place if lane else None


class LanedRunning:
    """What tasks say and ask, passed on to the lane that they run in; elsewhere nobody hears it."""

    def progress(self, done: int, total: int) -> None:
        """Show how far the task of this lane is."""
        if lane := here.get():
            lane.running.progress(done, total)

    def current_task(self) -> control.Task | None:
        """Return the task of this lane."""
        lane = here.get()
        return lane.running.current_task() if lane else None

    def runs_again(self, error: BaseException) -> bool | None:
        """Tell whether the task of this lane is run again if it raises this."""
        lane = here.get()
        return lane.running.runs_again(error) if lane else None

    def restart_clock(self) -> None:
        """Have the time of the task of this lane begin now."""
        if lane := here.get():
            lane.running.restart_clock()

    def why_cancelled(self) -> str:
        """Return why the coroutine of this lane was cancelled; nothing where its time was not up."""
        lane = here.get()
        return lane.execution.interruption if lane else ""


class LanedShield(Shield):
    """Keeps the interruption of a task of a thread away from code that must not be torn."""

    def keeps_away(self) -> bool:
        """Return False: each lane knows by itself."""
        return False

    def shut(self) -> None:
        """Keep interruptions away from this lane."""
        if lane := here.get():
            with lane.execution.gate:
                lane.execution.shut += 1

    def open(self) -> None:
        """Let interruptions come to this lane; one that was kept away comes now.

        Raises:
            TaskInterrupted: the text tells the limit.
        """
        if lane := here.get():
            execution = lane.execution
            with execution.gate:
                execution.shut -= 1
                due = execution.missed and execution.shut <= 0
            if due:
                execution.missed = False
                raise TaskInterrupted(execution.interruption)


class LanedExecution(Execution):
    """Runs the chunks of one lane; coroutine functions are awaited where the lane is a coroutine.

    In a thread, an interruption is an exception that another thread sets. It comes between two instructions of Python,
    whichever they are; so it is set only while `open_for` names a task, and what it finds then is one of the loops that
    call tasks, or was called from there. `gate` makes that certain: whoever closes it has seen what was set before.
    """

    awaited: asyncio.Task[tuple[Any, BaseException | None]] | None = None
    """What is awaited for the task at hand."""
    interruption: str = ""
    """Why that was cancelled, or the task of this thread interrupted."""
    interrupted: int = -1
    """The task that was."""
    is_open = False
    shut = 0
    missed = False
    """An interruption came while this lane was shut."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gate = threading.RLock()  # a signal may come while a signal is handled

    def _call(self, call: CallEach, function: Function, batch: Values, results: list[Any]) -> Ended:
        self.shut, self.missed, self.interrupted = 0, False, -1
        first = self._slot[INDEX]
        try:
            self.is_open = True
            ended = call(function, batch, self._slot, results, self._sent_ns + FLUSH_NS)
            self._close_gate()
        except TaskInterrupted as error:
            ended = monotonic_ns(), error
            self._close_gate()
        ended_ns, failure = ended
        if isinstance(failure, TaskInterrupted) and self.interrupted >= 0:
            if first + len(results) != self.interrupted:
                return ended_ns, None  # it had just ended; the next one has not begun
            if not failure.args:
                failure.args = (self.interruption,)
        return ended_ns, failure

    def _close_gate(self) -> None:
        """Let no interruption be set any more; one that was set is raised here at the latest."""
        with self.gate:
            self.is_open = False
        _nothing()

    def interrupt(self, ident: int | None, index: int, why: str) -> None:
        """Have the task of a thread interrupted; the gate is held."""
        self.interruption, self.interrupted = why, index
        if self.shut > 0:
            self.missed = True
        elif ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TaskInterrupted))

    async def run_awaiting(self, chunk: Chunk) -> None:
        """Do as `run`, and let other lanes go on while a coroutine waits."""
        at = self._begin_chunk(chunk)
        if at is None:
            return
        opened = self._open(at)
        if opened is not None:
            function, items = opened
            coroutine = getattr(function, "coroutine_function", None)
            if coroutine is None:
                self._run_all(at, function, items)
            else:
                for place, value in enumerate(items.values):
                    if self.leaving:
                        break
                    await self._run_one(at, coroutine, items.form, chunk.start + place, value, items.errors.get(place))
        self._end_chunk()

    async def _run_one(
        self, at: At, function: Function, form: Form, index: int, value: Any, error: BaseException | None
    ) -> None:
        if error is not None:
            self._fail(at, index, index + 1, error, 0)
            return
        results: list[Any] = []
        self.at_hand.begin(at.chunk, index, results, at.job)
        begun_ns = self._begin(index)
        args, kwargs = value if form is Form.CALL else ((value,) if form is Form.ONE else value, {})
        self.interruption = ""
        self.awaited = asyncio.ensure_future(_outcome_of(function, args, kwargs))
        result, failure = await self.awaited
        self.awaited = None
        self.at_hand.end()
        self._slot[STARTED] = now = monotonic_ns()
        self._slot[INDEX], self._slot[PHASE] = index + 1, PACKING
        if failure is None:
            self._succeed(at, index, [result], now - begun_ns)
        else:
            if self.interruption and isinstance(failure, asyncio.CancelledError):
                failure = TaskInterrupted(self.interruption).with_traceback(failure.__traceback__)
            self._end_raised(at, index, failure, now - begun_ns)
        self._flush_if_due(at.job)
        if self.why_leave is not None and not self.leaving:
            self.leaving = self.why_leave(now)


def _nothing() -> None:
    """Be called: that is when an exception that was set is raised. Source: CPython, `RESUME` looks for it."""


async def _outcome_of(function: Function, args: Any, kwargs: Any) -> tuple[Any, BaseException | None]:
    """Return what a coroutine returns or raises; even `sys.exit()` in it does not end the loop."""
    try:
        return await function(*args, **kwargs), None
    except BaseException as error:
        return None, error
