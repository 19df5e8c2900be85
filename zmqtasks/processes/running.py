"""The task that runs in this worker: which one it is, what it tells of its progress, and how it is interrupted.

Owns the signal that interrupts, and the second half of the progress slot. Never ends the worker: a task that will not
be interrupted is killed from outside. `worker.py` makes it, `control.py` and the signal call it.

The signal may come at any instruction of any code, so the handler raises only where that can harm nobody else: the
supervisor has written down which task it means, that task is the one at hand and has not ended, and what was
interrupted stands in one of the loops that call tasks, or was called from there.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Container
from time import monotonic_ns
from types import CodeType, FrameType
from typing import Any, Protocol

from zmqtasks import control
from zmqtasks.errors import TaskInterrupted, TaskTimeout
from zmqtasks.machines.phases import WorkPhase
from zmqtasks.messages import Chunk
from zmqtasks.options import KIB, TaskOptions
from zmqtasks.processes.progress import (
    ASKED_CHUNK,
    ASKED_INDEX,
    ASKED_WHY,
    CHUNK,
    DONE,
    INDEX,
    OF_CHUNK,
    OF_INDEX,
    PHASE,
    RENEWED,
    STALLED,
    STARTED,
    TOTAL,
)

INTERRUPT_SIGNAL = signal.SIGRTMIN + 8 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR1
"""Asks a worker to raise `TaskInterrupted` in the task that its slot names."""
STACK_CHARS = 64 * KIB


class KnownJob(Protocol):
    """A job, as this worker knows it."""

    name: str
    options: TaskOptions

    def runs_again(self, error: BaseException, runs: int) -> bool | None:
        """Tell whether a task that was run so often before is run again if it raises this; None for no retries."""


class AtHand:
    """The tasks that a loop goes through now: a batch at a time, so that it costs nothing a task."""

    def __init__(self) -> None:
        self._batch: tuple[Chunk, int, list[Any], KnownJob] | None = None

    def begin(self, chunk: Chunk, first: int, results: list[Any], job: KnownJob) -> None:
        """Take note of a batch of a chunk that begins with task `first`, and puts what comes of each into `results`."""
        self._batch = chunk, first, results, job

    def end(self) -> None:
        """Take note that it is through."""
        self._batch = None

    def options_of(self, index: int) -> TaskOptions | None:
        """Return the options of this task where it runs now; None where it has ended, though the slot tells it late."""
        if self._batch is None:
            return None
        _, first, results, job = self._batch
        return job.options if first + len(results) <= index else None

    def task(self) -> control.Task | None:
        """Return the task that runs now."""
        if self._batch is None:
            return None
        chunk, first, results, job = self._batch
        return control.Task(f"{chunk.job}#{first + len(results)}", chunk.runs, *chunk.stamp, name=job.name)

    def runs_again(self, error: BaseException) -> bool | None:
        """Tell whether the task that runs now is run again if it raises this; None where there are no retries."""
        if self._batch is None:
            return None
        chunk, _, _, job = self._batch
        return job.runs_again(error, chunk.runs)


class Shield:
    """Keeps the interruption of a task away from code that must not be torn; for the thread that signals come to.

    As a context it is shut; in other threads, which no interruption reaches, it does nothing.
    """

    def __init__(self) -> None:
        self._shut = 0
        self._missed = False

    def keeps_away(self) -> bool:
        """Tell whether an interruption has to wait; it comes when this opens."""
        self._missed = self._missed or bool(self._shut)
        return bool(self._shut)

    def open(self) -> None:
        """Let interruptions come; one that was kept away comes now."""
        if threading.get_ident() == threading.main_thread().ident:
            self._shut -= 1
            if self._missed and not self._shut:
                self._missed = False
                signal.raise_signal(INTERRUPT_SIGNAL)

    def shut(self) -> None:
        """Keep interruptions away."""
        if threading.get_ident() == threading.main_thread().ident:
            self._shut += 1

    def __enter__(self) -> None:
        self.shut()

    def __exit__(self, *exc_info: object) -> None:
        self.open()


class RunningTask:
    """What a task and its worker know of each other while it runs.

    Args:
        slot: of the worker, as given by `slot_of`.
        at_hand: what the loops go through.
        loops: the code that calls tasks.
    """

    def __init__(self, slot: memoryview, at_hand: AtHand, loops: Container[CodeType]) -> None:
        self._slot = slot
        self._at_hand = at_hand
        self._loops = loops
        self.shield = Shield()

    def take_place(self, slot: memoryview) -> None:
        """Look into this slot from now on."""
        self._slot = slot

    def install(self) -> None:
        """Be what `zmqtasks.progress` and `zmqtasks.current_task` reach, and take the signal."""
        control.running = self
        signal.signal(INTERRUPT_SIGNAL, self.interrupted)

    def current_task(self) -> control.Task | None:
        """Return the task at hand; None between two. From any thread of it."""
        return self._at_hand.task()

    def runs_again(self, error: BaseException) -> bool | None:
        """Tell whether the task at hand is run again if it raises this; None where there are no retries for it."""
        return self._at_hand.runs_again(error)

    def restart_clock(self) -> None:
        """Have the time of the task at hand begin now."""
        self._slot[STARTED] = monotonic_ns()

    def why_cancelled(self) -> str:
        """Return nothing: where tasks run one by one, they are interrupted, and not cancelled."""
        return ""

    def progress(self, done: int, total: int) -> None:
        """Show how far the task is; from any thread of it. The task it is of comes last, and makes it hold."""
        slot = self._slot
        slot[DONE], slot[TOTAL], slot[RENEWED] = done, total, monotonic_ns()
        slot[OF_INDEX], slot[OF_CHUNK] = slot[INDEX], slot[CHUNK]

    def interrupted(self, signal_number: int, frame: FrameType | None) -> None:
        """Raise in the task that is meant, once; do nothing where it has ended.

        Raises:
            TaskInterrupted: the text tells the limit.
        """
        options = self._options_of_asked()
        if options is None or not self._called_from_loop(frame) or self.shield.keeps_away():
            return
        self._slot[ASKED_CHUNK] = 0
        raise TaskInterrupted(self._why(options))

    @property
    def index(self) -> int:
        """Return the task that the slot shows."""
        return int(self._slot[INDEX])

    def asked(self) -> str:
        """Return why the task at hand is to be interrupted, once; nothing where it is not."""
        options = self._options_of_asked()
        if options is None:
            return ""
        self._slot[ASKED_CHUNK] = 0
        return self._why(options)

    def _options_of_asked(self) -> TaskOptions | None:
        """Return the options of the task that is to be interrupted, where it runs now."""
        slot = self._slot
        index = slot[ASKED_INDEX]
        if (slot[ASKED_CHUNK], index, WorkPhase.RUNNING) != (slot[CHUNK], slot[INDEX], slot[PHASE]):
            return None
        return self._at_hand.options_of(index)

    def _called_from_loop(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code in self._loops:
                return True
            frame = frame.f_back
        return False

    def _why(self, options: TaskOptions) -> str:
        slot = self._slot
        if slot[ASKED_WHY] != STALLED:
            return f"the task ran longer than its timeout of {options.timeout or 0:g} s, and was interrupted"
        told = (slot[OF_CHUNK], slot[OF_INDEX]) == (slot[CHUNK], slot[INDEX])
        text = f"the task showed no progress for its stall_timeout of {options.stall_timeout or 0:g} s, and was "
        return text + "interrupted" + how_far(slot[DONE], slot[TOTAL], told=told)


def how_far(done: int, total: int, *, told: bool) -> str:
    """Return the end of a sentence: what a task told of its progress."""
    if not told:
        return "; it never called zmqtasks.progress()"
    return f"; it was at {done} of {total}" if total else f"; it was at {done}"


def as_timeout(error: TaskInterrupted, *, node: str) -> TaskTimeout:
    """Return what the caller of an interrupted task gets, with the stack where it was."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    stack = "".join(traceback.StackSummary.from_list(frames).format())
    text = str(error) or "the task ended by TaskInterrupted"
    return TaskTimeout(text, stack=stack[-STACK_CHARS:], node=node, pid=os.getpid())


def _is_ours(filename: str) -> bool:
    return filename.startswith(_OUR_FOLDER)


_OUR_FOLDER = __file__.rpartition("/")[0] + "/"
