"""Those who tend the queues of a ventilator from elsewhere: what they ask is done once, and answered as often as asked.

Owns the answers. Decides nothing about tasks. Runs in the loop's thread. Opened by `embedded/thread.py`; who asks is
`cli/tending.py`.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import Any

from zmqtasks.machines.session import Closed
from zmqtasks.messages import Bulk, QueueCare, Range, Request, Tend, Tended
from zmqtasks.options import MIB
from zmqtasks.peer import Guest, Report
from zmqtasks.records import replace
from zmqtasks.ventilator.shell import Ventilator
from zmqtasks.wire import payload

logger = logging.getLogger(__name__)

PULLED_AT_ONCE = 100
"""Tasks that one answer carries, at most: heartbeats come behind it. Who wants more asks again."""
LINE_CHARS = MIB
"""What is longer stays in its queue."""


class Stewards:
    """Host sessions of stewards; see the module."""

    def __init__(self, ventilator: Ventilator) -> None:
        self._ventilator = ventilator

    def guest_joined(self, guest: Guest, *, again: bool) -> None:
        """A steward is there; one that comes again is answered as before what it has asked before."""

    def guest_delivered(self, guest: Guest, message: Bulk | Request) -> None:
        """Do what is asked, unless that is done, and answer."""
        if not isinstance(message, Tend):
            return
        if guest.data is None or guest.data.number != message.number:
            guest.data = self._tended(message)
        answer: Tended = guest.data
        guest.carry(lambda number: replace(answer, session=number))

    def guest_left(self, guest: Guest, closed: Closed) -> None:
        """Nothing to do: what was done to a queue stays."""

    def report(self, guest: Guest, *, full: bool) -> Report:
        """Return that we are there."""
        return Report()

    def _tended(self, asked: Tend) -> Tended:
        queue, taken, lines = asked.queue, 0, list[str]()
        match asked.care:
            case QueueCare.PAUSE | QueueCare.RESUME:
                self._ventilator.hold(queue, held=asked.care is QueueCare.PAUSE)
            case QueueCare.PURGE:
                taken = self._ventilator.purge(queue)
            case QueueCare.PULL:
                lines = self._pulled(queue, min(asked.most, PULLED_AT_ONCE))
                taken = len(lines)
        if asked.care is not QueueCare.LENGTH:
            logger.info("somebody asked to %s the queue %s; %d tasks were taken out", asked.care, queue, taken)
        waiting = self._ventilator.queue_length(queue, delayed=False)
        delayed = self._ventilator.queue_length(queue, delayed=True) - waiting
        paused = queue in self._ventilator.held_queues()
        return Tended(asked.session, asked.number, waiting, delayed, paused, taken, "".join(lines).encode())

    def _pulled(self, queue: str, most: int) -> list[str]:
        """Take tasks out whose arguments JSON can show, the first in line first; they end as cancelled."""
        calls = self._ventilator.unsent(queue)
        shown = ((job, index, text) for job, index, *call in calls if (text := _shown(*call)) is not None)
        pulled = list(islice(shown, most))
        self._ventilator.request_cancel([Range(job, index, index + 1) for job, index, _ in pulled])
        return [f"{text}\n" for _, _, text in pulled]


def _shown(form: payload.Form, item: Any) -> str | None:
    """Return what a task is called with as an INPUT of `zmqtasks run` would give it; None where JSON cannot."""
    from zmqtasks.store.rows import show  # seldom needed

    if form is payload.Form.CALL:
        args, kwargs = item
        item = {"args": args, "kwargs": kwargs} if args else kwargs
    return show(item, LINE_CHARS)[0]
