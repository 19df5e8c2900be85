"""What a client, and the client of a running task, have in common: locks, semaphores, rates, keys and values.

Owns the words only; `sharing.py` is loaded when they are used. `client.py` and `current.py` inherit them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zmqtasks.sharing import Line, Lock, RateLimit, Semaphore


class Shares:
    """What is shared by all tasks of one client, on whatever node, and by the client itself.

    It is kept by the program that owns the tasks, in its memory, and ends with it.
    """

    def _line(self) -> Line:
        """Return the way to who keeps it."""
        raise NotImplementedError

    def _serializer(self) -> str:
        """Return how values are encoded."""
        return "pickle"

    def lock(self, name: str, ttl: float | str | None = 60.0) -> Lock:
        """Return the lock of this name.

        Args:
            name: whoever uses it means the same lock.
            ttl: seconds after which it is free again though nobody has released it; None for never.

        Raises:
            ValueError: no name, or a ttl of 0.
        """
        from zmqtasks.sharing import Lock

        return Lock(self._line(), name, ttl)

    def semaphore(self, name: str, places: int, ttl: float | str | None = 60.0) -> Semaphore:
        """Return the semaphore of this name, which has so many places.

        Args:
            name: whoever uses it means the same semaphore, and says the same number.
            places: how many may hold it at once.
            ttl: seconds after which a place is free again though nobody has released it; None for never.

        Raises:
            ValueError: no name, no place, or a ttl of 0.
        """
        from zmqtasks.sharing import Semaphore

        return Semaphore(self._line(), name, places, ttl)

    def rate_limit(self, name: str, most: int, per: float | str = 1.0) -> RateLimit:
        """Return the rate of this name: at most so many turns in any `per` seconds.

        Raises:
            ValueError: less than one turn, or no time.
        """
        from zmqtasks.sharing import RateLimit

        return RateLimit(self._line(), name, most, per)

    def set_key(self, name: str, value: object) -> bool:
        """Keep a small value under a name; return True where there was none, False where it was replaced.

        Raises:
            TooBig: the value takes more than 1 MiB, or all of them together more than 64 MiB.
            SerializationError: it cannot travel.
        """
        from zmqtasks.sharing import set_key

        return set_key(self._line(), name, value, self._serializer())

    def get_key(self, name: str, default: object = None) -> Any:
        """Return the value under a name, a copy of one's own; the default where there is none."""
        from zmqtasks.sharing import get_key

        return get_key(self._line(), name, default, self._serializer())

    def delete_key(self, name: str) -> bool:
        """Forget the value under a name; return whether there was one."""
        from zmqtasks.asks import DeleteKey
        from zmqtasks.sharing import checked_name, value_of

        deleted: bool = value_of(self._line().ask(DeleteKey(checked_name(name))))
        return deleted
