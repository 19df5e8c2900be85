"""What tasks ask the ventilator that owns their job, from inside a worker.

Owns the numbers of what was asked, and who waits for which answer. Opens nothing. Any thread of a task may ask and
wait; whoever waits reads the socket for all (`framing.WorkerEnd`), so that no thread stands by for it. `worker.py`
makes it, `current.py` calls it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count

from zmqtasks.errors import HomeLost, NestedTooDeep
from zmqtasks.messages import Buffer, JobId, PeerId, ventilator_of
from zmqtasks.options import MIB, TaskOptions
from zmqtasks.processes.framing import ANSWER_BODY, ASKED_BODY, LANE_BODY, FrameKind, SupervisorGone, WorkerEnd
from zmqtasks.processes.running import Shield

MOMENT_S = 0.005
"""An answer that comes so soon is waited for without further ado."""
SPAWNED_BYTES = 200
"""What a call that is spawned takes beside its arguments."""
UNCONFIRMED_BYTES = 4 * MIB
"""A task that spawns more waits until its home has taken what came before."""


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
        self.is_taken = False
        """The home has answered at all."""
        self.is_over = False
        """Nobody waits for more."""
        self.on_answer: Callable[[], None] | None = None
        """Called where an answer has come, or is lost, by whoever read it, without any lock held."""


class Place:
    """Where one task at a time runs, and whether it counts among those that do.

    Args:
        lane: of the worker; 0 where it has no lanes.
    """

    def __init__(self, lane: int = 0) -> None:
        self.lane = lane
        self.is_at_task = False
        """Whether a task runs; what a thread does that has outlived it is no matter of the node's."""
        self.counts = True
        """Whether this one serves; else another one does in its place."""
        self.waiting = 0
        """Threads that wait for others."""
        self.has_lost = False
        """Calls that its task may have spawned have never come home."""
        self.denials = 0


class Messenger:
    """Ask, and wait for answers; see the module.

    Args:
        end: of the socket to the node.
        shield: keeps the interruption of a task away from what must not be torn.
    """

    def __init__(self, end: WorkerEnd, shield: Shield) -> None:
        self.job: JobId = ""
        """Of the task at hand, or of the last one."""
        self.options = TaskOptions()
        """Of that job."""
        self.unconfirmed: deque[tuple[Pending, int]] = deque()
        """Calls that were spawned, and are perhaps not with the home yet, and the bytes of their arguments."""
        self._unconfirmed_bytes = 0
        self._end = end
        self._shield = shield
        self._numbers = count(1)
        self._pending: dict[int, Pending] = {}
        self._abandoned: deque[Callable[[], object]] = deque()
        self.places = [Place()]
        """By lane."""
        self._placing = threading.Lock()
        end.aside = {
            FrameKind.ANSWER: self._answered,
            FrameKind.LOST: self._lost,
            FrameKind.RESUME: self._resumed,
            FrameKind.DENIED: self._was_denied,
        }

    def place(self) -> Place | None:
        """Return where the task runs that calls this; None for a thread that is of none."""
        return self.places[0]

    def task_begun(self, job: JobId, options: TaskOptions) -> None:
        """Take note whose tasks are at hand in this place."""
        self.job, self.options = job, options
        if (place := self.place()) is not None:
            place.is_at_task = True

    def task_ended(self) -> None:
        """Take note that there are none any more."""
        if (place := self.place()) is not None:
            place.is_at_task = False

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

    def wait(
        self,
        condition: Callable[[], object],
        timeout: float | None = None,
        *,
        needs_others: bool = False,
        keeps_place: bool = False,
    ) -> bool:
        """Wait until a condition holds that answers bring about; return False where time is up before.

        Where that takes longer than a moment, another worker serves meanwhile, and this one goes on when it has a place
        again.

        Args:
            condition: looked at after each answer.
            timeout: in seconds, or None.
            needs_others: whether it may be that nothing comes unless another worker serves.
            keeps_place: whether no other worker is to serve meanwhile.

        Raises:
            NestedTooDeep: it needs others, and there may be no more of them.
        """
        try:
            with self._shield:
                moment_s = 0.0 if needs_others else MOMENT_S
                if timeout is not None and timeout <= moment_s:
                    return self._end.wait_until(condition, timeout, self._shield)
                if self._end.wait_until(condition, moment_s, self._shield):
                    return True
                left = None if timeout is None else timeout - moment_s
                place = None if keeps_place else self.place()
                if place is None:
                    return self._end.wait_until(condition, left, self._shield)
                return self._wait_without_place(place, condition, left, needs_others=needs_others)
        except SupervisorGone:
            os._exit(0)

    def _wait_without_place(
        self, place: Place, condition: Callable[[], object], timeout: float | None, *, needs_others: bool
    ) -> bool:
        """Wait while another worker serves; other threads of the task may go on meanwhile."""
        deadline = None if timeout is None else time.monotonic() + timeout
        denials, there, is_lent = place.denials, False, True
        with self._placing:
            place.waiting += 1
        try:
            while is_lent and not there and place.denials == denials:
                is_lent = self._lend(place)
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                # Another thread, which had what it waited for, may have had the place back: then it is lent anew.
                changed = (lambda: place.denials > denials or place.counts) if is_lent else (lambda: False)
                if not self._end.wait_until(lambda changed=changed: condition() or changed(), left, self._shield):  # type: ignore[misc]
                    break
                there = bool(condition())
        finally:
            with self._placing:
                place.waiting -= 1
                is_last = not place.waiting
            if is_last:  # whose time is up does not wait for a place: another may have it for long
                self._regain(place, at_once=not there)
        if there or place.denials == denials:
            return there
        if needs_others:
            raise NestedTooDeep
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        return self._end.wait_until(condition, left, self._shield)

    def _lend(self, place: Place) -> bool:
        """Have another worker serve, where none does; return False for a thread that has outlived its task."""
        with self._placing:
            if place.counts and place.is_at_task:
                place.counts = False
                self._end.send(FrameKind.WAIT, LANE_BODY.pack(place.lane))
            return not place.counts

    def _regain(self, place: Place, *, at_once: bool) -> None:
        """Go on when another worker that serves in the place of this one has left it, or at once."""
        with self._placing:
            if place.counts:
                return
            self._end.send(FrameKind.BACK, LANE_BODY.pack(place.lane) + (b"!" if at_once else b""))
        self._end.wait_until(lambda: place.counts)

    def settle(self) -> None:
        """Before results are told: have the home know what was spawned, and the node that nothing waits here."""
        if self.unconfirmed:
            self.confirm()
        place = self.place()
        if place is not None and not place.counts:
            self._regain(place, at_once=True)

    def take_loss(self, lane: int = 0) -> bool:
        """Tell, once, whether calls that the tasks of a lane may have spawned have never come home."""
        place = self.places[lane]
        has_lost, place.has_lost = place.has_lost, False
        return has_lost

    def wait_for(self, pending: Pending, *, keeps_place: bool = False) -> Buffer:
        """Return the answer to what has one; `keeps_place` as in `wait`.

        Raises:
            HomeLost: there will be none.
        """
        try:
            self.wait(lambda: pending.answers or pending.lost, keeps_place=keeps_place)
        finally:
            self._pending.pop(pending.number, None)
        if not pending.answers:
            raise HomeLost
        return pending.answers.popleft()

    def forget(self, pending: Pending) -> None:
        """Wait no more for answers."""
        pending.is_over = True
        self._pending.pop(pending.number, None)

    def note_spawned(self, pending: Pending, nbytes: int) -> None:
        """Take note that calls are on their way; wait for those before, where it is much."""
        self.unconfirmed.append((pending, nbytes + SPAWNED_BYTES))
        self._unconfirmed_bytes += nbytes + SPAWNED_BYTES
        if self._unconfirmed_bytes > UNCONFIRMED_BYTES:
            self.confirm(UNCONFIRMED_BYTES // 2)

    def confirm(self, leave_bytes: int = 0) -> None:
        """Wait until the home has taken what was spawned, but for the last so many bytes."""
        while self.unconfirmed and self._unconfirmed_bytes > leave_bytes:
            oldest, nbytes = self.unconfirmed[0]
            # The home takes it whatever else runs; and a child that got the place would have it for long.
            self.wait(lambda oldest=oldest: oldest.is_taken or oldest.lost, keeps_place=True)  # type: ignore[misc]
            if not oldest.is_taken:
                for place in self.places:  # nobody knows whose they were
                    place.has_lost = True
            self.unconfirmed.popleft()
            self._unconfirmed_bytes -= nbytes

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

    def _resumed(self, body: Buffer) -> None:
        self.places[LANE_BODY.unpack(body)[0]].counts = True
        if len(self.places) == 1:  # nothing lies behind the task of a lane
            self._end.pass_over()

    def _was_denied(self, body: Buffer) -> None:
        place = self.places[LANE_BODY.unpack(body)[0]]
        place.counts = True
        place.denials += 1

    def _answered(self, body: Buffer) -> Callable[[], None] | None:
        (number,) = ANSWER_BODY.unpack_from(body)
        pending = self._pending.get(number)
        if pending is None:
            return None
        pending.is_taken = True
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
