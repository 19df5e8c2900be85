"""The client of a running task: what it asks of the program that owns it.

Owns the way there from inside a worker; the words are those of a client. Called by user code in tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zmqtasks import control
from zmqtasks.asks import Answer, Ask
from zmqtasks.errors import TooBig
from zmqtasks.options import KIB, MIB
from zmqtasks.shares import Shares
from zmqtasks.wire.asking import pack_ask, unpack_answer

if TYPE_CHECKING:
    from zmqtasks.processes.messenger import Messenger

MOST_ASK_BYTES = MIB + 64 * KIB
"""Largest errand; a node carries it beside the heartbeats."""
OUTSIDE = "current_client() is for code that runs inside a task; elsewhere make a zmqtasks.Client"


class CurrentClient(Shares):
    """The client that owns the running task, as the task sees it; `current_client` returns it."""

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger
        self._way = _Way(messenger)

    def _line(self) -> _Way:
        return self._way

    def _serializer(self) -> str:
        return self._messenger.serializer


class _Way:
    """From a task to its home; see `sharing.Line`."""

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger

    def ask(self, ask: Ask) -> Answer:
        """Ask, and wait for the answer."""
        pending = self._messenger.ask(_packed(ask))
        return unpack_answer(self._messenger.wait_for(pending))

    def post(self, ask: Ask) -> None:
        """Ask, and do not wait."""
        self._messenger.ask(_packed(ask), keep=False)

    def later(self, function: Callable[[], object]) -> None:
        """Call a function when a task asks next, or has ended."""
        self._messenger.later(function)


def _packed(ask: Ask) -> bytes:
    body = pack_ask(ask)
    if len(body) > MOST_ASK_BYTES:
        raise TooBig(f"a {type(ask).__name__} takes {len(body):,} bytes; a task may say {MOST_ASK_BYTES:,} at once")
    return body


def current_client() -> CurrentClient:
    """Return the client that owns the task which runs here: to submit tasks, and for what all its tasks share.

        def crawl(url):
            client = zmqtasks.current_client()
            with client.rate_limit("fetch", 10):
                page = fetch(url)
            client.push_many(crawl, page.links)

    Raises:
        RuntimeError: no task runs in this process, or it was forked by one.
    """
    messenger = control.messenger
    if messenger is None or not messenger.is_in_task():
        raise RuntimeError(OUTSIDE)
    return CurrentClient(messenger)
