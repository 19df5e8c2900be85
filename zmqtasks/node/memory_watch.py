"""The watch over the memory of a node: looks, asks the machine `pressure`, tells people.

Owns the timer of the looks and the last figures. Decides nothing; what the machine says is carried out by `shell.py`,
the only caller.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from zmqtasks.errors import MemoryLimitExceeded
from zmqtasks.machines import pressure
from zmqtasks.messages import Job
from zmqtasks.options import MIB, NodeOptions
from zmqtasks.peer import Loop, Timer
from zmqtasks.processes.memory import MemoryUsage
from zmqtasks.processes.progress import Progress, WorkPhase

logger = logging.getLogger(__name__)

FRESH_S = 1.0
"""Figures for a report may be so old."""


class Workers(Protocol):
    """What is asked of the workers."""

    def progress(self, slot: int) -> Progress:
        """Return what a worker is doing."""

    def usage(self, limit_bytes: int | None, threshold: float) -> MemoryUsage:
        """Return what is used of the memory there is."""


class Holding(Protocol):
    """What is asked of the books."""

    def running(self, slot: int) -> Job | None:
        """Return the job a worker is at."""

    def busy(self) -> int:
        """Return how many workers have work."""

    def waits_for_room(self) -> bool:
        """Tell whether a task waits for memory."""


class MemoryWatch:
    """Look at the memory of a node while it works.

    Args:
        loop: of the node.
        options: its limits.
        workers: asked for figures.
        holding: asked for what runs.
        act: carries out a command.
    """

    def __init__(
        self,
        loop: Loop,
        options: NodeOptions,
        workers: Workers,
        holding: Holding,
        act: Callable[[pressure.Command], None],
    ) -> None:
        self._loop, self._options = loop, options
        self._workers, self._holding, self._act = workers, holding, act
        self._machine = pressure.Pressure(options.memory_pause, options.memory_stop, options.worker_count())
        self._timer: Timer | None = None
        self._usage: MemoryUsage | None = None
        self._read_at = float("-inf")
        self._paused = False

    def work_begun(self) -> None:
        """Look soon; cheap where a look is due anyway."""
        if self._timer is None:
            self._handle(pressure.WorkBegun())

    def worker_gone(self, slot: int) -> None:
        """The worker of a slot has ended."""
        self._handle(pressure.WorkerGone(slot))

    def worker_spared(self, slot: int) -> None:
        """A condemned worker lives on, for its task has ended."""
        if self._machine.is_ending(slot):
            self._handle(pressure.WorkerSpared(slot))

    def used_bytes(self) -> int:
        """Return what all workers hold together, as of a moment ago."""
        if self._usage is None or self._loop.time() - self._read_at > FRESH_S:
            self._read()
        return sum(self._usage.workers.values()) if self._usage else 0

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def error(self, condemned: pressure.Condemn) -> MemoryLimitExceeded:
        """Return what the task of a condemned worker ends with."""
        assert self._usage is not None
        options, limit, peak = self._options, self._usage.limit_bytes, condemned.memory_bytes
        whose = "the workers of this node may hold" if options.memory is not None else "its host has"
        text = (
            f"the task held {_mib(peak)} when its node came to use {_mib(self._usage.used_bytes)}, more than "
            f"{options.memory_stop:.0%} of the {_mib(limit)} that {whose}"
        )
        return MemoryLimitExceeded(text, peak_bytes=peak)

    def _read(self) -> MemoryUsage:
        self._usage = self._workers.usage(self._options.memory, self._options.memory_pause)
        self._read_at = self._loop.time()
        return self._usage

    def _look(self) -> None:
        self._timer = None
        usage = self._read()
        seen = tuple(self._seen(slot, memory) for slot, memory in sorted(usage.workers.items()))
        busy = self._holding.busy() > 0
        waiting = self._holding.waits_for_room()
        self._handle(pressure.MemorySeen(usage.used_bytes, usage.limit_bytes, seen, busy, waiting))

    def _seen(self, slot: int, memory_bytes: int) -> pressure.WorkerSeen:
        job, progress = self._holding.running(slot), self._workers.progress(slot)
        if job is None or progress.phase is WorkPhase.IDLE:
            return pressure.WorkerSeen(slot, memory_bytes)
        task = pressure.Task(progress.attempt, progress.index)
        return pressure.WorkerSeen(slot, memory_bytes, task, progress.started_ns / 1e9, job.options.retry)

    def _handle(self, event: pressure.Event) -> None:
        for command in self._machine.handle(event, self._loop.time()):
            self._tell(command)
            self._act(command)
        if self._timer is None and self._machine.next_deadline() < float("inf"):
            self._timer = self._loop.call_at(self._machine.next_deadline(), self._look)

    def _tell(self, command: pressure.Command) -> None:
        """Log what people should know, with figures."""
        assert self._usage is not None
        figures = f"{_mib(self._usage.used_bytes)} of {_mib(self._usage.limit_bytes)} used"
        match command:
            case pressure.Admit(paused) if paused != self._paused:
                self._paused = paused
                if paused:
                    logger.warning("memory: %s; starting no more tasks", figures)
                else:
                    logger.warning("memory: there is room again; starting tasks")
            case pressure.Replace(slot):
                logger.info("memory: %s; worker %d holds more than its share, and is replaced", figures, slot)
            case pressure.Sacrifice(slot, held):
                logger.warning("memory: %s; stopping worker %d (%s), its task runs again", figures, slot, _mib(held))
            case pressure.Condemn(slot, _, held):
                logger.warning("memory: %s; stopping worker %d (%s) over its task", figures, slot, _mib(held))


def _mib(count: float) -> str:
    return f"{count / MIB:.0f} MiB"
