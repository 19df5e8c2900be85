"""Calls that the tasks of a command spawn: run on its nodes, counted, and waited for before the command ends.

Their results are no rows of the output: they go to the task that waits for them, and come to this program, whatever
sink there is. Everything here happens in the loop's thread. Called by `results.py` and `job.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zmqtasks.cli.exits import brief
from zmqtasks.cli.tally import Tally
from zmqtasks.embedded.nursery import Nursery
from zmqtasks.embedded.reception import Reception
from zmqtasks.embedded.thread import Embedded
from zmqtasks.errors import ZmqtasksError
from zmqtasks.machines.collection import Record
from zmqtasks.options import TaskOptions
from zmqtasks.ventilator.resuming import Resuming


class Children:
    """Have calls of tasks run.

    Args:
        tally: kept up to date.
        defaults: options of calls that nobody says otherwise of.
        on_idle: called when none is left.
    """

    def __init__(self, tally: Tally, defaults: TaskOptions, on_idle: Callable[[], None]) -> None:
        self._tally = tally
        self._defaults = defaults
        self._on_idle = on_idle
        self._reception = Reception(None, self._broken)
        self._nursery: Nursery | None = None
        self._resuming: Resuming | None = None

    def begin(self, embedded: Embedded) -> None:
        """Take calls from now on."""
        self._resuming = embedded.resuming
        self._reception.begin(embedded, waits=False)
        self._nursery = Nursery(embedded.ventilator, self._reception, self._defaults, self._on_idle, self._failed)
        self._tally.spawned = self._counts

    def go_on(self) -> None:
        """Go on with calls of an earlier life: nodes have told what they hold of it."""
        if self._resuming and self._nursery:
            self._nursery.go_on(self._resuming)

    @staticmethod
    def _broken(error: ZmqtasksError) -> None:
        raise error

    def is_idle(self) -> bool:
        """Tell whether none is left; from any thread."""
        return self._nursery is None or self._nursery.is_idle()

    def drain(self) -> None:
        """From now on begin none but those that a task waits for."""
        if self._nursery:
            self._nursery.drain()

    def parted(self, records: Sequence[Record]) -> tuple[list[Record], Sequence[Record]]:
        """Return the outcomes of such calls, and the others."""
        if not self._reception.has_jobs and self._resuming is None:
            return [], records
        ours = [record for record in records if self._is_ours(record)]
        return ours, [record for record in records if not self._is_ours(record)] if ours else records

    def _is_ours(self, record: Record) -> bool:
        job = record.outcome.job
        return job in self._reception or (self._resuming is not None and self._resuming.is_spawned(job))

    def keep(self, records: Sequence[Record], then: Callable[[], None]) -> None:
        """Mark in the journal that such calls have ended; then go on."""
        self._reception.keep(records, then)

    def hand_on(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Hand results on to who waits for them, and book them."""
        self._reception.hand_on(records, on_stored)

    def _counts(self) -> tuple[int, int]:
        return (self._nursery.ended, self._nursery.added) if self._nursery else (0, 0)

    def _failed(self, name: str, number: int, error: BaseException) -> None:
        self._tally.spawned_failed += number
        self._tally.first_spawned_failure = self._tally.first_spawned_failure or f"{name}: {brief(error)}"
