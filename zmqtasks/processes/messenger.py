"""What tasks ask the ventilator that owns their job, from inside a worker.

Owns the numbers of what was asked, and who waits for which answer. Opens nothing. Any thread of a task may ask and
wait; whoever waits reads the socket for all (`framing.WorkerEnd`), so that no thread stands by for it. `worker.py`
makes it, `current.py` calls it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from itertools import count

from zmqtasks.errors import HomeLost
from zmqtasks.messages import Buffer, JobId, PeerId, ventilator_of
from zmqtasks.processes.framing import ANSWER_BODY, ASKED_BODY, FrameKind, SupervisorGone, WorkerEnd
from zmqtasks.processes.running import Shield


class Pending:
    """Something that was asked, and the answers that have come to it.

    Args:
        number: of what was asked.
        home: the ventilator that was asked.
    """

    def __init__(self, number: int, home: PeerId) -> None:
        self.number = number
        self.home = home
        self.answers: deque[Buffer] = deque()
        self.lost = False
        self.on_answer: Callable[[], None] | None = None
        """Called where an answer has come, or is lost, by whoever read it, without any lock held."""


class Messenger:
    """Ask, and wait for answers; see the module.

    Args:
        end: of the socket to the node.
        shield: keeps the interruption of a task away from what must not be torn.
    """

    def __init__(self, end: WorkerEnd, shield: Shield) -> None:
        self.job: JobId = ""
        """Of the task at hand, or of the last one."""
        self.serializer = "pickle"
        """Of that job."""
        self._end = end
        self._shield = shield
        self._numbers = count(1)
        self._pending: dict[int, Pending] = {}
        self._abandoned: deque[Callable[[], object]] = deque()
        end.aside = {FrameKind.ANSWER: self._answered, FrameKind.LOST: self._lost}

    def is_in_task(self) -> bool:
        """Tell whether this is a worker that has run a task, and no process that it forked."""
        return bool(self.job) and self._end.is_ours()

    def ask(self, body: bytes, *, keep: bool = True) -> Pending:
        """Ask the home of the task at hand, and do not wait; with `keep` the answer can be waited for."""
        job = self.job
        self.tidy()
        pending = Pending(next(self._numbers), ventilator_of(job))
        if keep:
            self._pending[pending.number] = pending
        name = job.encode()
        with self._shield:
            self._send(FrameKind.ASK, b"".join((ASKED_BODY.pack(pending.number, len(name)), name, body)))
        return pending

    def wait(self, condition: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait until a condition holds that answers bring about; return False where time is up before."""
        try:
            with self._shield:
                return self._end.wait_until(condition, timeout, self._shield)
        except SupervisorGone:
            os._exit(0)

    def wait_for(self, pending: Pending) -> Buffer:
        """Return the answer to what has one.

        Raises:
            HomeLost: there will be none.
        """
        try:
            self.wait(lambda: pending.answers or pending.lost)
        finally:
            self._pending.pop(pending.number, None)
        if not pending.answers:
            raise HomeLost
        return pending.answers.popleft()

    def forget(self, pending: Pending) -> None:
        """Wait no more for answers."""
        self._pending.pop(pending.number, None)

    def later(self, function: Callable[[], object]) -> None:
        """Call a function when a task asks next, or has ended; from anywhere, even where memory is collected."""
        self._abandoned.append(function)

    def tidy(self) -> None:
        """Do what was left for later."""
        while self._abandoned:
            self._abandoned.popleft()()

    def _send(self, kind: FrameKind, body: bytes) -> None:
        try:
            self._end.send(kind, body)
        except SupervisorGone:
            os._exit(0)

    # In whichever thread reads

    def _answered(self, body: Buffer) -> Callable[[], None] | None:
        (number,) = ANSWER_BODY.unpack_from(body)
        pending = self._pending.get(number)
        if pending is None:
            return None
        pending.answers.append(memoryview(body)[ANSWER_BODY.size :])
        return pending.on_answer

    def _lost(self, body: Buffer) -> Callable[[], None] | None:
        home = bytes(body).decode()
        lost = [pending for pending in self._pending.values() if pending.home == home]
        for pending in lost:
            pending.lost = True
        told = [pending.on_answer for pending in lost if pending.on_answer]

        def tell_all() -> None:
            for tell in told:
                tell()

        return tell_all if told else None
