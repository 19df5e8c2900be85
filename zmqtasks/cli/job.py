"""One job from beginning to end: read arguments, hand them to the mesh, wait for the results, tell how it went.

Owns the order of these steps, the bound on what is read ahead, and what Ctrl-C means. The reading is done in the main
thread; results arrive in the loop's (`results.py`). Called by `run` and `ventilator`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zmqtasks.cli.ahead import Ahead
from zmqtasks.cli.exits import Exit, say
from zmqtasks.cli.functions import Function
from zmqtasks.cli.inputs import Argument, Source, Unreadable
from zmqtasks.cli.interrupts import Interrupts
from zmqtasks.cli.progress import Display
from zmqtasks.cli.results import Results
from zmqtasks.cli.tally import Tally
from zmqtasks.embedded import Embedded, Where
from zmqtasks.messages import JobId
from zmqtasks.options import KIB
from zmqtasks.store import Store

BATCH_TASKS = 1000
BATCH_BYTES = 256 * KIB
ITEM_BYTES = 64
"""What an argument weighs beside its text."""
POLL_S = 0.05
"""How often to look whether the last tasks have left the nodes, once nothing is sent any more."""
CLOSE_S = 2.0
"""How long the store may take when nobody wants to wait."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done.

    Args:
        function: what to call.
        source: with which arguments.
        keep_going: go on where an input is no argument.
        progress: show on a terminal how far it is.
    """

    function: Function
    source: Source
    keep_going: bool
    progress: bool = True


class JobRun:
    """Run one job.

    Args:
        task: what is to be done.
        tally: told how far it is.
    """

    def __init__(self, task: Task) -> None:
        self.tally = Tally()
        self._task = task
        self._store: Store | None = None
        self._results = Results(self.tally, self._tasks_ended, self._notify)
        self._changed = threading.Condition()
        self._ahead = Ahead()
        self._batch: list[Argument] = []
        self._batch_bytes = 0
        self._embedded: Embedded | None = None
        self._job_id: JobId = ""
        self._is_over = self._interrupted = self._stopped_by_input = False

    # The store's side

    def deliver(self, callback: Callable[[], None]) -> None:
        """Call back in the loop's thread; for the writer of the store."""
        if self._embedded:
            self._embedded.call_soon(callback)

    def store_failed(self, error: Exception) -> None:
        """Hear that results could not be written."""
        self._results.store_failed(error)

    def run(self, where: Where, store: Store | None) -> Exit:
        """Do it all, close the store, and return the exit code.

        Args:
            where: nodes and sink.
            store: where results go; None where a standalone sink has them.

        Raises:
            NoNodes: no node answered.
            BindError: an address cannot be bound.
            KeyboardInterrupt: Ctrl-C came twice.
        """
        self._store = self._results.store = store
        patience_s = CLOSE_S
        try:
            with Interrupts(self._on_interrupt) as interrupts:
                self._embedded = Embedded(where, self._results)
                with Display(self.tally, self._load, shown=self._task.progress) as display:
                    self._open_job()
                    self._feed(interrupts)
                    self._finish()
                patience_s = PATIENCE_S
                self._report(display.elapsed_s)
        finally:
            self._close(patience_s)
        return self._exit_code()

