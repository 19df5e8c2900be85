"""Input for a ventilator that lasts as long as the faults do: numbers through a pipe, never far ahead of the mesh.

Owns the thread that writes. How far ahead is judged by the ledger, which costs one stat. Used by scenarios.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import IO

from tests.mesh.chaos.ledger import Ledger
from tests.mesh.chaos.tasks import number_of

PIECE = 500
POLL_S = 0.02


class Feeder:
    """Write numbers of tasks to a pipe until it is told to stop.

    Args:
        pipe: standard input of a ventilator; closed at the end.
        job: number of the job.
        ledger: what was executed.
        ahead: tasks written and not done, at most.
        per_s: tasks a second, at most.
        done: how many are done; by default as many as the ledger has more than at first, where re-runs count as well.
    """

    def __init__(
        self,
        pipe: IO[bytes],
        job: int,
        ledger: Ledger,
        ahead: int = 5000,
        per_s: float = float("inf"),
        done: Callable[[], int] | None = None,
    ) -> None:
        self.fed = 0
        self._pipe, self._job, self._ahead, self._per_s = pipe, job, ahead, per_s
        before = ledger.executions
        self._done = done or (lambda: ledger.executions - before)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feeder-{job}", daemon=True)
        self._thread.start()

    def end(self, timeout_s: float = 60.0) -> int:
        """Close the pipe; return how many tasks there are."""
        self._stop.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the ventilator of job {self._job} has read no input for {timeout_s} s")
        return self.fed

    def _run(self) -> None:
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError), self._pipe:
            while not self._stop.is_set():
                if self._is_ahead(time.monotonic() - began):
                    self._stop.wait(POLL_S)
                    continue
                piece = b"".join(b"%d\n" % number_of(self._job, n) for n in range(self.fed, self.fed + PIECE))
                self._pipe.write(piece)
                self._pipe.flush()
                self.fed += PIECE

    def _is_ahead(self, elapsed_s: float) -> bool:
        return self.fed >= self._per_s * elapsed_s or self.fed - self._done() >= self._ahead
