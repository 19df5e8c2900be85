"""How a node leaves: when it starts nothing more, when it stops what still runs, and when it waits for nobody any more.

Owns the bounds of that: how long a drain may take, and how long the node may be there at all. Knows no task and no
worker: `node/shell.py` carries it out, and says here that a drain is wanted, by whomever.

    WORKING --StartNothing--> DRAINING --StopRunning--> STOPPING --GiveUp--> OVER

A drain without a bound lasts until the last task has ended. A further request may only shorten it.
"""

from __future__ import annotations

from enum import StrEnum

from zmqtasks.records import Value

NEVER = float("inf")
MARGIN_S = 5.0
"""What runs is stopped so long before the wall time is over: what it was goes back, and is acknowledged, meanwhile."""
MARGIN = 0.1
"""Of a short wall time no more than this part."""
GOODBYE_S = 5.0
"""How long sinks may take to acknowledge after all has been stopped."""


class State(StrEnum):
    """How far the node has come."""

    WORKING = "working"
    DRAINING = "draining"
    STOPPING = "stopping"
    OVER = "over"


class StartNothing(Value):
    """Start no task any more, and hand back what has not begun."""


class StopRunning(Value):
    """Stop what runs, and hand it back."""


class GiveUp(Value):
    """Leave, whatever is not acknowledged."""


Command = StartNothing | StopRunning | GiveUp


class Leaving:
    """Say when to do what; see the module.

    Args:
        drain_s: how long a drain may take, where who wants it does not say.
        walltime_s: how long the node may be there.
        now: monotonic seconds.
    """

    def __init__(self, drain_s: float = NEVER, walltime_s: float = NEVER, now: float = 0.0) -> None:
        self.state = State.WORKING
        self._drain_s = drain_s
        margin_s = min(MARGIN_S, MARGIN * walltime_s)
        self._stop_at = self.wall_at = now + walltime_s - margin_s if walltime_s < NEVER else NEVER
        """By the wall time, what runs is stopped then: what begins has to end before."""
        self._over_at = NEVER

    def drain(self, within_s: float | None, now: float) -> list[Command]:
        """Begin to leave, or leave sooner.

        Args:
            within_s: how long what runs may take to end; None for as long as the node allows.
            now: monotonic seconds.
        """
        if self.state in (State.STOPPING, State.OVER):
            return []
        begun, self.state = self.state is State.DRAINING, State.DRAINING
        if within_s is not None or not begun:
            self._stop_at = min(self._stop_at, now + (self._drain_s if within_s is None else within_s))
        return [*([] if begun else [StartNothing()]), *self.tick(now)]

    def tick(self, now: float) -> list[Command]:
        """Return what is due."""
        commands: list[Command] = []
        if self.state in (State.WORKING, State.DRAINING) and now >= self._stop_at:
            commands += [StartNothing()] if self.state is State.WORKING else []
            self.state, self._over_at = State.STOPPING, now + GOODBYE_S
            commands.append(StopRunning())
        if self.state is State.STOPPING and now >= self._over_at:
            self.state = State.OVER
            commands.append(GiveUp())
        return commands

    def next_deadline(self) -> float:
        """Return the time at which `tick` has something to do."""
        return {State.STOPPING: self._over_at, State.OVER: NEVER}.get(self.state, self._stop_at)

    def __repr__(self) -> str:
        return f"<Leaving {self.state}, next at {self.next_deadline():g}>"
