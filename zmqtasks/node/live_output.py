"""What workers print, on its way to the clients that asked for it: bounded, paced, and what is lost is counted.

Owns the lines that wait for each client, and when they are sent. Knows no pipe and no socket. Called by `shell.py`.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from zmqtasks.messages import PeerId, Printed, ventilator_of
from zmqtasks.options import KIB, MIB
from zmqtasks.peer import Loop, Timer
from zmqtasks.processes.events import WorkerPrinted
from zmqtasks.processes.output import PARTIAL_LINE_S

WAITING_BYTES = MIB
"""How much may wait for one client; what is printed beyond it is lost to that client."""
MESSAGE_BYTES = 64 * KIB
PAUSE_S = 0.05
"""Between two messages to one client: 1.25 MiB a second at most."""
LAST_PAUSE_S = 0.002
"""The same where the client is about to go, and asks for the rest."""
PRINTED_BYTES = 64
"""What a piece weighs beside its text."""
ANSWER_S = PARTIAL_LINE_S + 0.01
"""When a client asks for the rest, half a line may still be on its way."""


class Listener(Protocol):
    """A client, as output sees it; `Guest` is one."""

    def print(self, printed: tuple[Printed, ...], dropped: int = 0, *, end: bool = False) -> bool:
        """Send lines, or return False where nothing can be taken now."""


class LiveOutput:
    """The output that waits for one client.

    Args:
        loop: of the node.
        listener: the client.
    """

    def __init__(self, loop: Loop, listener: Listener) -> None:
        self.listener = listener
        self._loop = loop
        self._waiting: deque[Printed | int] = deque()
        """Pieces, and numbers of lines that were lost between them."""
        self._bytes = 0
        self._timer: Timer | None = None
        self._next_s = 0.0
        self._ending = False

    def add(self, piece: Printed) -> None:
        """Send a piece soon; lose it where too much waits."""
        weight = PRINTED_BYTES + len(piece.text)
        if self._bytes + weight > WAITING_BYTES:
            self._lose(max(1, piece.text.count("\n")))
        else:
            self._waiting.append(piece)
            self._bytes += weight
        self._schedule(self._next_s)

    def end(self) -> None:
        """Tell the client, behind all that waits, that nothing waits any more."""
        self._loop.call_at(self._loop.time() + ANSWER_S, self._end)

    def close(self) -> None:
        """Forget what waits; idempotent."""
        self._waiting.clear()
        self._ending = False
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._ending = True
        self._schedule(0.0)

    def _lose(self, lines: int) -> None:
        if self._waiting and isinstance(last := self._waiting[-1], int):
            self._waiting[-1] = last + lines
        else:
            self._waiting.append(lines)

    def _schedule(self, when: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_at(max(when, self._loop.time()), self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._next_s = self._loop.time() + (LAST_PAUSE_S if self._ending else PAUSE_S)
        dropped, pieces = self._first()
        end = self._ending and len(self._waiting) == len(pieces) + bool(dropped)
        if (pieces or dropped or end) and self.listener.print(tuple(pieces), dropped, end=end):
            self._ending = self._ending and not end
            for _ in range(len(pieces) + bool(dropped)):
                self._waiting.popleft()
            self._bytes -= sum(PRINTED_BYTES + len(piece.text) for piece in pieces)
        if self._waiting or self._ending:
            self._schedule(self._next_s)

    def _first(self) -> tuple[int, list[Printed]]:
        """Return what fits into the next message: lines lost before it, and pieces without a loss between them."""
        dropped, pieces, size = 0, list[Printed](), 0
        for place, entry in enumerate(self._waiting):
            if isinstance(entry, int):
                if place:
                    break
                dropped = entry
                continue
            size += PRINTED_BYTES + len(entry.text)
            if pieces and size > MESSAGE_BYTES:
                break
            pieces.append(entry)
        return dropped, pieces


class Listeners:
    """All clients of a node that are sent output.

    Args:
        loop: of the node.
        guests: the sessions with clients, by peer; looked at, never changed.
    """

    def __init__(self, loop: Loop, guests: dict[PeerId, Listener]) -> None:
        self._loop = loop
        self._guests = guests
        self._live: dict[PeerId, LiveOutput] = {}

    def printed(self, event: WorkerPrinted) -> None:
        """Send a piece to the client whose task it is of, if it is still there."""
        client = ventilator_of(event.piece.job)
        if live := self._of(client):
            live.add(event.piece)

    def end(self, client: PeerId) -> None:
        """Answer a client that asks for the rest."""
        if live := self._of(client):
            live.end()

    def leave(self, client: PeerId) -> None:
        """Forget a client."""
        if live := self._live.pop(client, None):
            live.close()

    def close(self) -> None:
        """Forget all of them."""
        for client in list(self._live):
            self.leave(client)

    def _of(self, client: PeerId) -> LiveOutput | None:
        guest = self._guests.get(client)
        if guest is None:
            return None
        live = self._live.setdefault(client, LiveOutput(self._loop, guest))
        live.listener = guest  # a newer session replaces an older one
        return live
