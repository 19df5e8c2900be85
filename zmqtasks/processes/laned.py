"""A worker that runs several tasks at once: each lane is a thread, or a coroutine on one event loop.

Owns the lanes of one worker. What a lane does with a chunk is what a worker with one task at a time does
(`execution.py`), with a progress slot of its own; coroutines are awaited instead of called. `worker.py` makes one where
it is told to.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import traceback
from collections.abc import Callable
from socket import socket
from typing import Any

from zmqtasks import control
from zmqtasks.errors import StopRequested
from zmqtasks.messages import NO_SESSION, Chunk, Outcome, Results, Tasks
from zmqtasks.processes.farewell import flush_streams
from zmqtasks.processes.framing import FrameKind, Passed, SupervisorGone
from zmqtasks.processes.lane import Lane, LanedExecution, LanedMessenger, LanedRunning, LanedShield, here
from zmqtasks.processes.loops import LOOPS
from zmqtasks.processes.messenger import Messenger
from zmqtasks.processes.progress import slot_of
from zmqtasks.processes.running import INTERRUPT_SIGNAL, RunningTask, Shield
from zmqtasks.processes.unheard import handed_back
from zmqtasks.processes.worker import Worker
from zmqtasks.wire import codec, references

LOOK_S = 0.25
"""How often the thread that reads looks whether a lane wants the worker to leave."""


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
        self._messenger.places = [lane.place for lane in self._lanes]
        signal.signal(INTERRUPT_SIGNAL, self._interrupted)
        self._end.send(FrameKind.READY)
        self._run_coroutines() if self._settings.awaits else self._run_threads()
        if self._leaving:
            self._end.send(FrameKind.LEAVING, self._leaving.encode())

    def _lane(self, number: int, slot: memoryview) -> Lane:
        def send(outcomes: tuple[Outcome, ...]) -> None:
            self._messenger.settle()
            if self._messenger.take_loss(number):
                outcomes = handed_back(outcomes, execution.options_of)
            passed = Passed()
            frame = codec.encode(Results(NO_SESSION, number, outcomes), lend=passed.lend)
            self._end.send(FrameKind.RESULTS, frame, passed.fds)

        execution = self._make_execution(LanedExecution, send, slot)
        execution.messenger, execution.why_leave = self._messenger, self._execution.why_leave
        execution.allowed, execution.objects = self._execution.allowed, self._execution.objects
        return Lane(execution, RunningTask(slot, execution.at_hand, LOOPS), number)

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
        here.set(lane)
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
        here.set(lane)
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
