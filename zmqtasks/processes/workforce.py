"""The workers of one node: start them, talk to them, watch them, end them.

Owns the processes, their descriptors, the progress memory and the zygote. Never blocks the loop but in `close`, never
decides when a worker starts or dies, and runs no task. `node/shell.py` is the only caller: it gives orders by slot and
takes events from `on_event`, which is called from the loop, never from within an order.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from zmqtasks.errors import LocalProtocolError
from zmqtasks.messages import Buffer, PeerId, Tasks
from zmqtasks.options import cgroups_wanted
from zmqtasks.processes import cgroup, linux
from zmqtasks.processes.events import WorkerEvent, WorkerSaid
from zmqtasks.processes.exits import await_end
from zmqtasks.processes.first_zygote import FirstZygote
from zmqtasks.processes.flight_recorder import FlightRecorder
from zmqtasks.processes.framing import ANSWER_BODY, LANE_BODY, FrameKind, inner_limits
from zmqtasks.processes.memory import MemoryGauge, MemoryUsage
from zmqtasks.processes.orphans import Orphans
from zmqtasks.processes.output import Outlet
from zmqtasks.processes.progress import OVERRUN, STALLED, Progress, ProgressTable
from zmqtasks.processes.running import INTERRUPT_SIGNAL
from zmqtasks.processes.seat import Seat, Surroundings
from zmqtasks.processes.setup import TARGETS, Setup
from zmqtasks.processes.spawn import DirectSpawner, Spawner, SpawnRequest
from zmqtasks.processes.streams import json_formatter
from zmqtasks.processes.usage import tree_rss_bytes, tree_unique_bytes
from zmqtasks.processes.worker import STACK_SIGNAL, Settings
from zmqtasks.processes.zygote_spawner import ZygoteSpawner

if TYPE_CHECKING:
    import asyncio

CLOSE_S = 5.0
"""How long `close` waits for workers that are stuck in the kernel, all together."""
SWEEP_S = 1.0
SWEEP_SOON_S = 0.01

_numbers = count(1)
"""Of the workforces of this process: what ends with one must not be taken for another's."""


class Workforce:
    """All workers of a node, by slot.

    Args:
        loop: the loop everything is watched on; use from its thread only.
        setup: how many workers there may be, and how they start.
        settings: what each worker is told; its slot and its cgroup are filled in here.
        on_event: takes what happens to workers.
        zygote: one that waits for its settings already, or None; owned from now on.
        recorder: where it is noted what workers have, or None; owned from now on.

    Raises:
        OSError: no descriptors or processes left.
        ValueError: "zygote" where there can be none, or JSON logs without their extra.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        setup: Setup,
        settings: Settings,
        on_event: Callable[[WorkerEvent], None],
        *,
        zygote: FirstZygote | None = None,
        recorder: FlightRecorder | None = None,
    ) -> None:
        if settings.log_format == "json":
            json_formatter()  # here it can still be told that the extra is missing
        self._loop = loop
        self._setup = setup
        self._on_event = on_event
        self._seats: dict[int, Seat] = {}
        # The node's peer id goes into outcomes; with our pid and a number it marks the processes.
        self._mark = f"{settings.node}-{os.getpid()}-{next(_numbers)}"
        self._orphans = Orphans(self._mark)
        self._closed = False
        self._gauge = MemoryGauge()
        self._sweep_timer: asyncio.TimerHandle | None = None
        wanted = linux.AVAILABLE and (cgroups_wanted() if setup.cgroups is None else setup.cgroups)
        self._group = cgroup.open_group(self._mark) if wanted else None
        group = "" if self._group is None else str(self._group.path)
        self._settings = settings._replace(group=group)
        self._recorder = recorder
        self._lanes = settings.lanes
        self._table = ProgressTable(setup.slots * settings.lanes, recorder.fd if recorder else None)
        try:
            self._spawner = self._choose_spawner(zygote)
        except BaseException:
            self._table.close()
            if recorder is not None:
                recorder.close()
            if self._group is not None:
                self._group.close()
            raise
        self._outlet = Outlet()
        self._around = Surroundings(
            loop,
            inner_limits(settings.limits),
            self._table,
            self._outlet,
            TARGETS[setup.output],
            self._emit,
            self._vacate,
            lanes=settings.lanes,
            tells_peak=self._spawner.tells_peak,
            style=setup.style,
        )
        self._adopted_before = True
        if linux.AVAILABLE:
            self._adopted_before = linux.adopt_orphans()
            self._sweep()

    def start(self, slot: int) -> None:
        """Start a worker in a free slot; `WorkerStarted` and `WorkerReady` follow, or `WorkerFailedToStart`.

        Raises:
            LocalProtocolError: the slot is taken, or there is no such slot, or this is closed.
        """
        if self._closed or slot in self._seats or not 0 <= slot < self._setup.slots:
            state = "closed" if self._closed else "taken" if slot in self._seats else f"not one of {self._setup.slots}"
            raise LocalProtocolError(f"cannot start a worker in slot {slot}: {state}")
        for lane in range(self._lanes):
            self._table.clear(slot * self._lanes + lane)
        if self._recorder is not None:
            self._recorder.started(slot)
        untold = self._settings.has_functions or not self._spawner.tells_settings
        seat = Seat(slot, self._settings._replace(slot=slot).pack() if untold else b"", self._around)
        self._seats[slot] = seat
        self._spawner.spawn(SpawnRequest(slot, seat.open_fds, seat.started, seat.failed))

    def send(self, slot: int, tasks: Tasks, *, alone: bool = False) -> None:
        """Send work without waiting; what the worker has not taken counts as `backlog_bytes`. It runs alone anyway."""
        if self._recorder is not None:
            for chunk in tasks.chunks:
                self._recorder.given(slot, chunk)
        self._seat(slot).give(tasks)
        for job in tasks.jobs:
            self._spawner.learn(job)

    def take_back(self, slot: int, given: int) -> int:
        """Have a worker not begin half of what it has not begun; see `ProgressTable.take_back`."""
        return self._table.take_back(slot, given)

    def stop(self, slot: int) -> None:
        """Have the worker finish what it was sent, run its finalizer and exit handlers, and end."""
        self._seat(slot).send(FrameKind.STOP, b"")

    def answer(self, slot: int, number: int, body: Buffer) -> None:
        """Give a worker the answer to what one of its tasks asked by this number."""
        self._seat(slot).send(FrameKind.ANSWER, ANSWER_BODY.pack(number) + body)

    def tell_lost(self, slot: int, ventilator: PeerId) -> None:
        """Tell a worker that what its tasks asked this ventilator will not be answered."""
        self._seat(slot).send(FrameKind.LOST, ventilator.encode())

    def resume(self, slot: int, lane: int = 0) -> None:
        """Have the task of a worker go on that has waited; what the worker has not begun has gone to others."""
        self._seat(slot).send(FrameKind.RESUME, LANE_BODY.pack(lane))

    def deny(self, slot: int, lane: int = 0) -> None:
        """Tell a worker that it keeps its place while its task waits."""
        self._seat(slot).send(FrameKind.DENIED, LANE_BODY.pack(lane))

    def kill(self, slot: int) -> None:
        """Kill the worker and what it started; the orphans that leaves are killed when it has ended."""
        seat = self._seat(slot)
        seat.kill()
        if self._group is not None and seat.pid is not None:
            self._group.kill(seat.pid)

    def dump_stack(self, slot: int) -> bool:
        """Ask the worker to write its stacks to its output, even where it hangs; False where it is not ready yet.

        A worker that was stopped (SIGSTOP) is let go on, or it could not.
        """
        self._seat(slot).expect_stack()
        asked = self._signal(slot, STACK_SIGNAL)
        return asked and self._signal(slot, signal.SIGCONT)

    def stack_bytes(self, slot: int) -> int:
        """Return how many bytes the worker has written since `dump_stack`, once they hold a stack; else 0."""
        return self._seat(slot).stack_bytes()

    def interrupt(self, slot: int, chunk: int, index: int, *, stalled: bool, lane: int = 0) -> None:
        """Have the worker raise `TaskInterrupted` in this task, if it still is at it and listens."""
        self._table.ask(slot * self._lanes + lane, chunk, index, STALLED if stalled else OVERRUN)
        self._signal(slot, INTERRUPT_SIGNAL)

    def _signal(self, slot: int, number: int) -> bool:
        """Send a signal to a worker that is ready for it; its pid is ours until it is reaped."""
        seat = self._seat(slot)
        if seat.pid is None or not seat.ready:
            return False
        os.kill(seat.pid, number)
        return True

    def progress(self, slot: int, lane: int = 0) -> Progress:
        """Return what the worker in a slot does now, in one of its lanes."""
        return self._table.read(slot * self._lanes + lane)

    def memory(self, slot: int) -> int:
        """Return the resident bytes of the worker and all it started; 0 while there is none.

        Cheap; what they share counts more than once.
        """
        pid = self._seat(slot).pid
        return 0 if pid is None else tree_rss_bytes(pid)

    def unique_memory(self, slot: int) -> int:
        """Return the bytes of the worker and all it started, each page once; up to 10 ms a process."""
        pid = self._seat(slot).pid
        return 0 if pid is None else tree_unique_bytes(pid)

    def usage(self, limit_bytes: int | None, threshold: float) -> MemoryUsage:
        """Return what all workers hold, with what they started, of `limit_bytes` or of what this host has."""
        workers = {slot: [pid, *self._orphans.of(pid)] for slot, pid in self.pids().items()}
        return self._gauge.read(workers, limit_bytes, threshold, self._loop.time())

    def backlog_bytes(self, slot: int) -> int:
        """Return how many bytes were sent that the worker's kernel buffer has not taken yet."""
        return self._seat(slot).backlog_bytes

    def is_at_rest(self, slot: int) -> bool:
        """Tell whether the worker sleeps, and nothing is on its way between it and us; False where nobody knows."""
        seat = self._seats.get(slot)
        return linux.AVAILABLE and seat is not None and seat.is_at_rest()

    def pids(self) -> dict[int, int]:
        """Return the process of each slot that has one."""
        return {slot: seat.pid for slot, seat in self._seats.items() if seat.pid is not None}

    def close(self) -> None:
        """Kill every worker and what it started, and give everything back; waits for it, without further events.

        A second call does nothing.
        """
        if self._closed:
            return
        self._closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for seat in self._seats.values():
            seat.kill()
        self._spawner.settle()
        deadline = time.monotonic() + CLOSE_S
        for seat in self._seats.values():
            if seat.pid is not None:
                await_end(seat.pid, deadline - time.monotonic())
            seat.close()
        self._seats.clear()
        if self._group is not None:
            self._group.close()
        if linux.AVAILABLE:
            self._orphans.bury(self._spawner.pids())
        self._spawner.close()
        if linux.AVAILABLE:
            self._orphans.bury(set())  # the warden of a zygote that did not end in time, and was killed
        if not self._adopted_before:
            linux.adopt_orphans(False)
        self._outlet.close()
        self._table.close()
        if self._recorder is not None:
            self._recorder.close()
        if self._setup.cleanup_dir is not None:
            shutil.rmtree(self._setup.cleanup_dir, ignore_errors=True)

    def _choose_spawner(self, first: FirstZygote | None) -> Spawner:
        mark, progress_fd = self._mark, self._table.fd
        method = self._setup.method
        if method == "spawn" or (method == "auto" and not linux.AVAILABLE):
            if first is not None:
                first.dismiss()
            return DirectSpawner(self._loop, mark, progress_fd)
        if method not in ("auto", "zygote") or not linux.AVAILABLE:
            raise ValueError(f"workers cannot be started by {method!r} here")
        folders = {
            "cleanup_dir": self._setup.cleanup_dir,
            "owner_dir": self._setup.owner_dir,
            "cgroup": self._settings.group or None,
        }
        preload = tuple(self._setup.preload)
        spawner = ZygoteSpawner(self._loop, mark, self._settings, progress_fd, preload=preload, first=first, **folders)
        spawner.start()
        return spawner

    def _seat(self, slot: int) -> Seat:
        try:
            return self._seats[slot]
        except KeyError:
            raise LocalProtocolError(f"there is no worker in slot {slot}") from None

    def _emit(self, event: WorkerEvent) -> None:
        if self._closed:
            return
        if self._recorder is not None and isinstance(event, WorkerSaid):
            self._recorder.told(event.slot, event.outcomes)
        self._on_event(event)

    def _vacate(self, seat: Seat) -> None:
        if self._closed:
            return
        del self._seats[seat.slot]
        if linux.AVAILABLE and seat.pid is not None:
            if self._group is not None:
                self._group.left(seat.pid)
            self._sweep_soon()

    def _sweep_soon(self) -> None:
        """Look after what a worker has left, for all that end at about the same time at once."""
        soon = self._loop.time() + SWEEP_SOON_S
        if self._sweep_timer is None or self._sweep_timer.when() > soon:
            if self._sweep_timer is not None:
                self._sweep_timer.cancel()
            self._sweep_timer = self._loop.call_at(soon, self._sweep)

    def _sweep(self) -> None:
        """Look after orphans now, and again soon where some were killed: their children come to us next."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        if self._group is not None:
            self._group.tidy()
        if self._recorder is not None:
            self._recorder.touch()
        killed = self._orphans.sweep(set(self.pids().values()), self._spawner.pids(), self._loop.time())
        self._sweep_timer = self._loop.call_later(SWEEP_SOON_S if killed else SWEEP_S, self._sweep)
