"""A worker that runs several tasks at once: each lane is a thread, or a coroutine on one event loop.

Owns the lanes of one worker. What a lane does with a chunk is what a worker with one task at a time does
(`execution.py`), with a progress slot of its own; coroutines are awaited instead of called. `worker.py` makes one where
it is told to.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from socket import socket
from time import monotonic_ns
from typing import Any

from zmqtasks import control
from zmqtasks.errors import StopRequested, TaskInterrupted
from zmqtasks.messages import NO_SESSION, Chunk, JobId, Outcome, Results, Tasks
from zmqtasks.processes.execution import FLUSH_NS, IDLE, PACKING, At, Execution
from zmqtasks.processes.farewell import flush_streams
from zmqtasks.processes.framing import FrameKind, Passed, SupervisorGone
from zmqtasks.processes.loops import LOOPS, CallEach, Ended, Function, Values
from zmqtasks.processes.messenger import Messenger
from zmqtasks.processes.progress import INDEX, PHASE, STARTED, slot_of
from zmqtasks.processes.running import INTERRUPT_SIGNAL, RunningTask, Shield
from zmqtasks.processes.worker import Worker
from zmqtasks.wire import codec, references
from zmqtasks.wire.payload import Form

LOOK_S = 0.25
"""How often the thread that reads looks whether a lane wants the worker to leave."""

_here: ContextVar[Lane | None] = ContextVar("_here", default=None)


class Lane:
    """One task at a time, among others."""

    def __init__(self, execution: LanedExecution, running: RunningTask) -> None:
        self.execution = execution
        self.running = running
        self.orders: queue.SimpleQueue[Tasks | None] = queue.SimpleQueue()
        self.job: JobId = ""
        self.serializer = "pickle"
        self.ident: int | None = None
        """Of its thread."""


class LanedMessenger(Messenger):
    """Asks for the task of whichever lane calls it."""

    _job: JobId = ""
    _serializer = "pickle"

    @property
    def job(self) -> JobId:
        """Of the task at hand in this lane; elsewhere, of the last one that began in any."""
        lane = _here.get()
        return lane.job if lane else self._job

    @job.setter
    def job(self, job: JobId) -> None:
        self._job = job
        if lane := _here.get():
            lane.job = job

    @property
    def serializer(self) -> str:
        """Of that job."""
        lane = _here.get()
        return lane.serializer if lane else self._serializer

    @serializer.setter
    def serializer(self, serializer: str) -> None:
        self._serializer = serializer
        if lane := _here.get():
            lane.serializer = serializer


class LanedRunning:
    """What tasks say and ask, passed on to the lane that they run in; elsewhere nobody hears it."""

    def progress(self, done: int, total: int) -> None:
        """Show how far the task of this lane is."""
        if lane := _here.get():
            lane.running.progress(done, total)

    def current_task(self) -> control.Task | None:
        """Return the task of this lane."""
        lane = _here.get()
        return lane.running.current_task() if lane else None

    def runs_again(self, error: BaseException) -> bool | None:
        """Tell whether the task of this lane is run again if it raises this."""
        lane = _here.get()
        return lane.running.runs_again(error) if lane else None

    def restart_clock(self) -> None:
        """Have the time of the task of this lane begin now."""
        if lane := _here.get():
            lane.running.restart_clock()

    def why_cancelled(self) -> str:
        """Return why the coroutine of this lane was cancelled; nothing where its time was not up."""
        lane = _here.get()
        return lane.execution.interruption if lane else ""


class LanedShield(Shield):
    """Keeps the interruption of a task of a thread away from code that must not be torn."""

    def keeps_away(self) -> bool:
        """Return False: each lane knows by itself."""
        return False

    def shut(self) -> None:
        """Keep interruptions away from this lane."""
        if lane := _here.get():
            with lane.execution.gate:
                lane.execution.shut += 1

    def open(self) -> None:
        """Let interruptions come to this lane; one that was kept away comes now.

        Raises:
            TaskInterrupted: the text tells the limit.
        """
        if lane := _here.get():
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
        self._flush()
        self._slot[PHASE] = IDLE

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


class LanedWorker(Worker):
    """A worker with lanes; see the module."""

    messenger_class: type[Messenger] = LanedMessenger

    def _make_shield(self) -> Shield:
        return LanedShield()

    def _live_in(self, channel: socket, number: int) -> None:
        """Run what comes in all lanes, until told to stop or until one of them has a reason to leave."""
        count = self._settings.lanes
        slots = [slot_of(self._slots, number * count + lane) for lane in range(count)]
        self._get_ready(channel, slots[0])
        self._leaving = ""
        self._chunks = 0
        self._lanes = [self._lane(lane, slot) for lane, slot in enumerate(slots)]
        control.running = LanedRunning()
        signal.signal(INTERRUPT_SIGNAL, self._interrupted)
        self._end.send(FrameKind.READY)
        self._run_coroutines() if self._settings.awaits else self._run_threads()
        if self._leaving:
            self._end.send(FrameKind.LEAVING, self._leaving.encode())

    def _lane(self, number: int, slot: memoryview) -> Lane:
        def send(outcomes: tuple[Outcome, ...]) -> None:
            passed = Passed()
            frame = codec.encode(Results(NO_SESSION, number, outcomes), lend=passed.lend)
            self._end.send(FrameKind.RESULTS, frame, passed.fds)

        execution = self._make_execution(LanedExecution, send, slot)
        execution.messenger, execution.why_leave = self._messenger, self._execution.why_leave
        execution.allowed, execution.objects = self._execution.allowed, self._execution.objects
        return Lane(execution, RunningTask(slot, execution.at_hand, LOOPS))

    def _accept(self, message: Tasks) -> Lane:
        """Take the objects of a message, and return the lane that its tasks are for."""
        for object_id in message.dropped:
            references.here.drop(object_id)
        for put in message.objects:
            references.here.add(put.id, put.body)
        return self._lanes[message.seq]

    def _prepare(self, lane: Lane, message: Tasks) -> tuple[Chunk, ...]:
        for job in message.jobs:
            lane.execution.add_job(job)
        for ended in message.ended:
            lane.execution.end_job(ended)
        return message.chunks

    def _has_run(self, lane: Lane) -> None:
        flush_streams()
        self._messenger.tidy()
        self._leaving = self._leaving or lane.execution.leaving

    # Threads: this one reads, and each lane is another

    def _run_threads(self) -> None:
        threads = [threading.Thread(target=_guarded, args=(self._run_lane, lane), daemon=True) for lane in self._lanes]
        for number, thread in enumerate(threads):
            thread.name = f"zmqtasks lane {number}"
            thread.start()
        while not self._leaving:
            if not self._end.has_come(LOOK_S):
                self._look_for_starving()
                continue
            kind, body = self._end.receive()
            if kind is FrameKind.STOP:
                break
            message = codec.decode(body, self._limits, self._end.borrow)
            assert isinstance(message, Tasks)
            self._accept(message).orders.put(message)
        for lane in self._lanes:
            lane.orders.put(None)
        for thread in threads:
            thread.join()

    def _look_for_starving(self) -> None:
        """Tell objects of task classes that want to hear it that no lane has anything to do."""
        execution, before = self._execution, self._chunks
        self._chunks = sum(lane.execution.chunks for lane in self._lanes)
        busy = self._chunks != before or any(lane.execution.is_busy for lane in self._lanes)
        wish = execution.objects.look(busy=busy)
        if wish is not None:
            execution.leave(stop=isinstance(wish, StopRequested))
            self._leaving = self._leaving or execution.leaving

    def _run_lane(self, lane: Lane) -> None:
        _here.set(lane)
        lane.ident = threading.get_ident()
        while (message := lane.orders.get()) is not None:
            for chunk in self._prepare(lane, message):
                if not self._leaving:
                    lane.execution.run(chunk)
                    self._has_run(lane)

    # Coroutines: another thread reads, this one has the loop

    def _run_coroutines(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._await_lanes())

    async def _await_lanes(self) -> None:
        orders: list[asyncio.Queue[Tasks | None]] = [asyncio.Queue() for _ in self._lanes]
        reader = threading.Thread(target=_guarded, args=(self._read, orders), daemon=True, name="zmqtasks reader")
        reader.start()
        running = [
            asyncio.ensure_future(self._run_awaiting(lane, queued))
            for lane, queued in zip(self._lanes, orders, strict=True)
        ]
        self._orders = orders
        looking = asyncio.ensure_future(self._look_now_and_then())
        await asyncio.gather(*running)
        looking.cancel()

    async def _look_now_and_then(self) -> None:
        while not self._leaving:
            await asyncio.sleep(LOOK_S)
            self._look_for_starving()
        self._end_lanes()

    def _end_lanes(self) -> None:
        for queued in self._orders:
            queued.put_nowait(None)

    def _read(self, orders: list[asyncio.Queue[Tasks | None]]) -> None:
        while True:
            kind, body = self._end.receive()
            if kind is FrameKind.STOP:
                for queued in orders:
                    self._loop.call_soon_threadsafe(queued.put_nowait, None)
                return
            message = codec.decode(body, self._limits, self._end.borrow)
            assert isinstance(message, Tasks)
            lane = self._lanes.index(self._accept(message))
            self._loop.call_soon_threadsafe(orders[lane].put_nowait, message)

    async def _run_awaiting(self, lane: Lane, orders: asyncio.Queue[Tasks | None]) -> None:
        _here.set(lane)
        while (message := await orders.get()) is not None:
            for chunk in self._prepare(lane, message):
                if not self._leaving:
                    await lane.execution.run_awaiting(chunk)
                    self._has_run(lane)
            if self._leaving:
                self._end_lanes()

    def _interrupted(self, signal_number: int, frame: object) -> None:
        """Cancel the coroutine, or interrupt the thread, that the node has named, where it still runs."""
        for lane in self._lanes:
            execution = lane.execution
            if not self._settings.awaits:
                with execution.gate:
                    if execution.is_open and (why := lane.running.asked()):
                        execution.interrupt(lane.ident, lane.running.index, why)
                continue
            if execution.awaited is not None and (why := lane.running.asked()):
                execution.interruption = why
                self._loop.call_soon_threadsafe(execution.awaited.cancel, why)


def _guarded(function: Callable[..., None], *args: Any) -> None:
    """Run a thread of ours; what goes wrong in it ends the worker, as it does in the main thread."""
    try:
        function(*args)
    except SupervisorGone:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        flush_streams()
        os._exit(1)
