"""Time that passes only when a test says so.

Owns the calls that are due, and their order: by time, then by when they were scheduled. Never sleeps, never looks at
the real clock, runs everything in the caller's thread. It has the face of `peer.Loop`, so that whole peers run on it;
each peer gets a `PeerClock`, which can be stopped as SIGSTOP stops a process, and killed.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from typing import Any

Call = Callable[..., object]


class FakeTimer:
    """A call that is due at some time; `cancel` forgets it."""

    __slots__ = ("args", "callback", "cancelled", "owner")

    def __init__(self, callback: Call, args: tuple[Any, ...], owner: PeerClock | None = None) -> None:
        self.callback = callback
        self.args = args
        self.owner = owner
        self.cancelled = False

    def cancel(self) -> None:
        """Forget the call, and what it refers to; one that was made already is no matter."""
        self.cancelled = True
        self.callback, self.args = _nothing, ()

    def run(self) -> None:
        """Make the call, unless the process it belongs to is stopped or dead."""
        if self.owner is None or self.owner.admits(self):
            self.callback(*self.args)


def _nothing() -> None:
    """What is left of a call that was cancelled."""


class FakeClock:
    """A clock and a loop in one; time moves in `advance` and `run_until` only.

    Args:
        start_s: monotonic seconds to begin with.
    """

    def __init__(self, start_s: float = 1000.0) -> None:
        self.calls = 0
        """How many calls were made so far."""
        self._now = start_s
        self._number = 0
        self._due: list[tuple[float, int, FakeTimer]] = []

    def time(self) -> float:
        """Return monotonic seconds."""
        return self._now

    def call_at(self, when: float, callback: Call, *args: Any) -> FakeTimer:
        """Call back at `when`; what is past is due now."""
        return self.schedule(when, FakeTimer(callback, args))

    def call_later(self, delay_s: float, callback: Call, *args: Any) -> FakeTimer:
        """Call back in `delay_s` seconds."""
        return self.call_at(self._now + delay_s, callback, *args)

    def call_soon(self, callback: Call, *args: Any) -> FakeTimer:
        """Call back now, after whatever is due already."""
        return self.call_at(self._now, callback, *args)

    def schedule(self, when: float, timer: FakeTimer) -> FakeTimer:
        """Run this timer at `when`."""
        self._number += 1
        heapq.heappush(self._due, (max(when, self._now), self._number, timer))
        return timer

    def peer_clock(self, offset_s: float = 0.0) -> PeerClock:
        """Return the clock of one process, `offset_s` seconds ahead of this one."""
        return PeerClock(self, offset_s)

    def step(self) -> bool:
        """Let time pass to the next call that is due, and make it; return False where nothing is due."""
        while self._due:
            when, _, timer = heapq.heappop(self._due)
            if timer.cancelled:
                continue
            self._now = when
            self.calls += 1
            timer.run()
            return True
        return False

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, and make all calls that come due meanwhile."""
        end = self._now + seconds
        while (due := self.next_due()) is not None and due <= end:
            self.step()
        self._now = end

    def run_until(self, condition: Callable[[], object], limit_s: float = 60.0) -> None:
        """Let time pass until `condition` holds; it is looked at after every call.

        Raises:
            AssertionError: `limit_s` seconds have passed, or nothing is due any more, and it does not hold.
        """
        end = self._now + limit_s
        while not condition():
            due = self.next_due()
            if due is None or due > end:
                name = getattr(condition, "__qualname__", repr(condition))
                why = "nothing is due any more" if due is None else f"{limit_s:g} s have passed"
                raise AssertionError(f"{name} is still false: {why}")
            self.step()

    def next_due(self) -> float | None:
        """Return when the next call is due, or None."""
        while self._due and self._due[0][2].cancelled:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None


class PeerClock:
    """The clock of one process: it can be ahead of others, and the process can be stopped, and killed.

    Args:
        clock: passes time.
        offset_s: how far this one is ahead of it.
    """

    def __init__(self, clock: FakeClock, offset_s: float = 0.0) -> None:
        self.stopped = self.dead = False
        self._clock = clock
        self._offset_s = offset_s
        self._held: deque[FakeTimer] = deque()

    def time(self) -> float:
        """Return monotonic seconds; they pass while the process is stopped, too."""
        return self._clock.time() + self._offset_s

    def call_at(self, when: float, callback: Call, *args: Any) -> FakeTimer:
        """Call back at `when`, or once the process continues."""
        due = when - self._offset_s
        while due + self._offset_s < when:
            # Rounded down, it would come too early, find nothing to do, and be scheduled again without end.
            due = math.nextafter(due, math.inf)
        return self._clock.schedule(due, FakeTimer(callback, args, self))

    def call_later(self, delay_s: float, callback: Call, *args: Any) -> FakeTimer:
        """Call back in `delay_s` seconds, or once the process continues."""
        return self.call_at(self.time() + delay_s, callback, *args)

    def call_soon(self, callback: Call, *args: Any) -> FakeTimer:
        """Call back now, after whatever is due already, or once the process continues."""
        return self._clock.schedule(self._clock.time(), FakeTimer(callback, args, self))

    def stop(self) -> None:
        """Make no calls until `resume`, as SIGSTOP does; time goes on."""
        self.stopped = True

    def resume(self) -> None:
        """Go on: what came due meanwhile is called at once, in the order in which it came due."""
        self.stopped = False
        while self._held:
            self._clock.schedule(self._clock.time(), self._held.popleft())

    def kill(self) -> None:
        """Never call again."""
        self.dead = True
        self._held.clear()

    def admits(self, timer: FakeTimer) -> bool:
        """Tell whether a call can be made now; one that finds the process stopped is held until it continues."""
        if self.stopped and not self.dead:
            self._held.append(timer)
        return not (self.stopped or self.dead)
