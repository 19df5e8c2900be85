"""The timer of a node that leaves: the machine `leaving` on a loop.

Owns the timer; decides nothing. Called by `shell.py`, which carries out what the machine says.
"""

from __future__ import annotations

from collections.abc import Callable

from zmqtasks.machines import leaving
from zmqtasks.options import NodeOptions
from zmqtasks.peer import Loop, Timer


class Departure:
    """Carry a node through its end.

    Args:
        loop: of the node.
        options: `drain_timeout` and `walltime` are used.
        carry_out: given each command of the machine.
    """

    def __init__(self, loop: Loop, options: NodeOptions, carry_out: Callable[[leaving.Command], None]) -> None:
        drain_s, walltime_s = (leaving.NEVER if s is None else s for s in (options.drain_timeout, options.walltime))
        self._machine = leaving.Leaving(drain_s, walltime_s, loop.time())
        self._loop = loop
        self._carry_out = carry_out
        self._timer: Timer | None = None
        self._rearm()

    @property
    def wall_at(self) -> float:
        """Return when what runs is stopped for want of time, by the loop's clock."""
        return self._machine.wall_at

    def drain(self, within_s: float | None) -> None:
        """Begin to leave, or leave sooner."""
        self._do(self._machine.drain(within_s, self._loop.time()))

    def close(self) -> None:
        """Do nothing more."""
        if self._timer:
            self._timer.cancel()

    def _tick(self) -> None:
        self._do(self._machine.tick(self._loop.time()))

    def _do(self, commands: list[leaving.Command]) -> None:
        self._rearm()
        for command in commands:
            self._carry_out(command)

    def _rearm(self) -> None:
        self.close()
        deadline = self._machine.next_deadline()
        self._timer = self._loop.call_at(deadline, self._tick) if deadline < leaving.NEVER else None
