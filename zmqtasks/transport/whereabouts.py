"""Where an endpoint leads: to itself, or for a name to one of its addresses at a time, of either family.

libzmq takes the first address of a name, of the one family that it was told before it asked, and never another. So it
gets addresses alone. Owns which address of a name is in use: the next one where nobody can be reached, and the name is
asked for again after the last. Connects nothing. Called by `push.py`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from zmqtasks import doors

logger = logging.getLogger(__name__)

PAUSE_S = 0.1
"""Between an address where nobody was reached and the next one."""
AGAIN_S = 1.0
"""Until a name is asked for again."""
Resolve = Callable[[str], tuple[str, ...]]


def addresses_of(name: str) -> tuple[str, ...]:
    """Return the addresses of a name, the one that the system would try first in front; blocks.

    Raises:
        OSError: it has none.
    """
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # no name can be so long, or have no letters between two dots
        raise OSError(f"{name!r} is no name of a host") from error
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Whereabouts:
    """Tell the connections to one peer which address to use.

    Args:
        loop: everything runs in its thread, but for the question for a name.
        endpoint: of the peer.
        resolve: returns the addresses of a name, or raises OSError; called in a thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: str, resolve: Resolve = addresses_of) -> None:
        self.loop = loop
        self.endpoint = endpoint
        self._resolve = resolve
        self._is_name = doors.is_name(endpoint) and 0 < doors.port_of(endpoint) <= doors.MOST_PORT
        self._followers: list[Callable[[str], None]] = []
        self._found: tuple[str, ...] = () if self._is_name else (doors.with_key(endpoint, ""),)
        self._at = 0
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Future[tuple[str, ...]] | None = None
        self._told = ""

    def follow(self, move: Callable[[str], None]) -> bool:
        """Have `move` called with the endpoint to connect to, now if it is known, and whenever it is another one.

        Returns:
            Whether the follower shall say how it fares: the first one of a name does, and the others go with it.
        """
        self._followers.append(move)
        if self._found:
            move(self._found[self._at])
        else:
            self._ask()
        return self._is_name and self._followers[0] is move

    def leave(self, move: Callable[[str], None]) -> None:
        """Follow no more; idempotent."""
        if move in self._followers:
            self._followers.remove(move)
        if not self._followers:
            self.arrived()
            if self._asking is not None:
                self._asking.cancel()

    def arrived(self) -> None:
        """Hear that somebody was reached: the address stays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def failed(self) -> None:
        """Hear that nobody was reached: another address is tried after a pause, unless somebody is reached."""
        if self._timer is None and self._asking is None:
            is_last = self._at + 1 >= len(self._found)
            self._timer = self.loop.call_later(AGAIN_S if is_last else PAUSE_S, self.move_on)

    def move_on(self) -> None:
        """Go to the next address; after the last, ask for the name again."""
        self.arrived()
        if self._at + 1 < len(self._found):
            self._at += 1
            self._tell()
        else:
            self._ask()

    def _tell(self) -> None:
        for move in tuple(self._followers):
            move(self._found[self._at])

    def _ask(self) -> None:
        if self._asking is None:
            self._asking = self.loop.run_in_executor(None, self._resolve, doors.host_of(self.endpoint))
            self._asking.add_done_callback(self._answered)

    def _answered(self, asked: asyncio.Future[tuple[str, ...]]) -> None:
        self._asking = None
        if asked.cancelled() or not self._followers:
            return
        error = asked.exception()
        if error is None:
            self._told = ""
            self._found = tuple(doors.at_address(self.endpoint, address) for address in asked.result())
        elif self._told != str(error):
            self._told = str(error)
            logger.warning("%s: %s", self.endpoint, error)
        self._at = 0
        if self._found:
            self._tell()
        else:
            self.failed()
