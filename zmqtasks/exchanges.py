"""An exchange of errands on the loop: the machine with its timer, and where its messages go.

Owns the timer. Decides nothing. `porter.py` (node) and `home.py` (ventilator) have one for each peer at the other end.
"""

from __future__ import annotations

from collections.abc import Callable

from zmqtasks.machines.errands import Command, Event, Exchange, Heard, Offered, Post, Renewed
from zmqtasks.messages import Errand, Errands
from zmqtasks.sessions import Loop, Timer


class Correspondence:
    """Say and hear the errands of one stream.

    Args:
        loop: everything happens in its thread.
        stream: number of the stream, drawn by the node.
        post: sends a message now, or drops it where there is no way at present.
        take: does what an errand says.
    """

    def __init__(
        self, loop: Loop, stream: int, post: Callable[[Post, int], None], take: Callable[[Errand], None]
    ) -> None:
        self.stream = stream
        self._loop = loop
        self._post = post
        self._take = take
        self._exchange = Exchange()
        self._timer: Timer | None = None
        self._due = float("inf")
        self._closed = False

    @property
    def unheard_bytes(self) -> int:
        """Bytes of errands that the other end has not acknowledged."""
        return self._exchange.unheard_bytes

    def offer(self, errand: Errand) -> None:
        """Say something, once, after all that was said before."""
        self._handle(Offered(errand))

    def hear(self, message: Errands) -> None:
        """Take what the other end said."""
        self._handle(Heard(message.cum, message.first, message.errands))

    def renew(self) -> None:
        """Say again what may be lost: there is a new session."""
        self._handle(Renewed())

    def close(self) -> None:
        """Say no more; idempotent."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _handle(self, event: Event) -> None:
        if not self._closed:
            self._carry_out(self._exchange.handle(event, self._loop.time()))

    def _tick(self) -> None:
        self._timer, self._due = None, float("inf")
        self._carry_out(self._exchange.tick(self._loop.time()))

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Post):
                self._post(command, self.stream)
            else:
                self._take(command.errand)
        self._rearm()

    def _rearm(self) -> None:
        """Keep one timer; one that fires early does no harm, so only an earlier deadline moves it."""
        deadline = self._exchange.next_deadline()
        if self._closed or deadline >= self._due:
            return
        if self._timer:
            self._timer.cancel()
        self._due = deadline
        self._timer = self._loop.call_at(deadline, self._tick)
