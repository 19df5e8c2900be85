"""The way of a client's own program to what its tasks share, which is kept in the thread of its loop.

Owns the numbers of what is asked. Called from any thread, by `sharing.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from itertools import count

from zmqtasks.asks import Answer, Ask
from zmqtasks.embedded.thread import Embedded
from zmqtasks.ventilator.home import CLOSED


class HomeLine:
    """Ask the ventilator of this program; see `sharing.Line`."""

    def __init__(self, embedded: Embedded) -> None:
        self._embedded = embedded
        self._numbers = count(1)

    def ask(self, ask: Ask) -> Answer:
        """Ask, and wait for the answer.

        Raises:
            RuntimeError: the client is shut down, or this is the thread that would answer.
        """
        embedded = self._embedded
        if embedded.is_current_thread():
            raise RuntimeError("a callback of a future must not wait for what is shared: it would wait for itself")
        answered: Future[Answer] = Future()
        embedded.call_soon(embedded.ventilator.home.ask, next(self._numbers), ask, answered.set_result)
        if embedded.is_closed:  # what was asked before is answered, if only by the end
            raise RuntimeError(CLOSED)
        return answered.result()

    def post(self, ask: Ask) -> None:
        """Ask, and do not wait; after the end, do nothing."""
        self._embedded.call_soon(self._embedded.ventilator.home.ask, next(self._numbers), ask, None)

    def later(self, function: Callable[[], object]) -> None:
        """Call a function soon."""
        self._embedded.call_soon(function)
