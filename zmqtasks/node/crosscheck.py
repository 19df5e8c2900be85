"""Compares what a node believes of its workers with what they show: a defect may cost a worker, and never a task.

A worker that has read all it was sent, has said all it had to say, sleeps, and shows that it is idle will never end the
tasks that its node thinks it has. Owns the timer, which runs only while something is thought to run. `shell.py` tells
it when a worker is given work, and ends what is convicted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from zmqtasks.machines.contradictions import Contradictions
from zmqtasks.machines.phases import WorkPhase
from zmqtasks.peer import Loop, Timer
from zmqtasks.processes.progress import Progress

logger = logging.getLogger(__name__)

LOOK_S = 0.5


class Resting(Protocol):
    """Workers, as far as they are compared."""

    def progress(self, slot: int) -> Progress:
        """Return what a worker is doing."""

    def is_at_rest(self, slot: int) -> bool:
        """Tell whether a worker sleeps, and nothing is on its way between it and us."""


class CrossCheck:
    """Look at the workers that are thought to have work.

    Args:
        loop: what happens here happens in its thread.
        workers: all of them.
        believed: returns what each worker is thought to have, for people.
        convict: told of a worker that will never end what it is thought to have.
    """

    def __init__(
        self,
        loop: Loop,
        workers: Resting,
        believed: Callable[[], Mapping[int, str]],
        convict: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._workers = workers
        self._believed = believed
        self._convict = convict
        self._contradictions = Contradictions()
        self._timer: Timer | None = None

    def work_begun(self) -> None:
        """Take note that a worker was given work."""
        if self._timer is None:
            self._timer = self._loop.call_at(self._loop.time() + LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        believed = self._believed()
        waiting = {}
        for slot, pieces in believed.items():
            progress = self._workers.progress(slot)
            if progress.phase is WorkPhase.IDLE and self._workers.is_at_rest(slot):
                waiting[slot] = (progress, pieces)
        for slot in self._contradictions.look(waiting, self._loop.time()):
            progress, pieces = waiting[slot]
            text = (
                "worker %d waits for work, and should have %s; it is replaced. A defect of zmqtasks, please report: %s"
            )
            logger.error(text, slot, pieces, progress)
            self._convict(slot)
        if believed:
            self.work_begun()

    def close(self) -> None:
        """Look no more; idempotent."""
        if self._timer:
            self._timer.cancel()
