"""What an earlier life of a ventilator may have sent, until those who may know of it have answered.

Owns who has not answered: nodes, and for each job that is resumed a standalone sink. Tasks are held back by the machine
meanwhile (`machines/dispatch.py`), which is told here when a doubt ends. Called by `shell.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from zmqtasks.machines import dispatch_moves as moves
from zmqtasks.messages import JobId
from zmqtasks.records import Entity
from zmqtasks.sessions import Link, Loop
from zmqtasks.ventilator.sink_session import SinkSession

DOUBT_S = 5.0
"""So long nodes may take to answer a ventilator that resumes; what they may still run is not given to others before."""
ASK_S = 1.0
"""How often a sink is asked what it has, until it has answered."""


class _Doubt(Entity):
    sink_to_ask: bool
    since: float


class Doubts:
    """Wait for answers.

    Args:
        loop: everything happens in its thread.
        handle: takes events to the machine.
        sink: a standalone one, which may have outcomes; None where there is none.
    """

    def __init__(self, loop: Loop, handle: Callable[[moves.Event], None], sink: SinkSession | None) -> None:
        self._loop = loop
        self._handle = handle
        self._sink = sink
        self._jobs: dict[JobId, _Doubt] = {}
        self._unanswered: set[Link] = set()
        self._awaited: set[Link] = set()
        """Those of them that may answer in time, so that tasks wait for them."""

    def __contains__(self, job_id: JobId) -> bool:
        """Tell whether somebody may know of tasks that an earlier life has sent, and has not answered."""
        return job_id in self._jobs

    def expect(self, link: Link) -> None:
        """Wait for a node to answer, for a while."""
        self._unanswered.add(link)
        self._awaited.add(link)
        self._handle(moves.NodesCounted(False))
        self._loop.call_at(self._loop.time() + DOUBT_S, self._await_no_more, link)

    def answered(self, link: Link) -> None:
        """A node has answered, or never will."""
        self._unanswered.discard(link)
        self._await_no_more(link)
        for job_id in list(self._jobs):
            self._end_if_certain(job_id)

    def begin(self, job_id: JobId, *, at_sink: bool) -> None:
        """Doubt a job that the journal knows; `at_sink` where a standalone one has its results."""
        self._jobs[job_id] = _Doubt(at_sink, self._loop.time())
        self._look(job_id)

    def sink_answered(self, job_id: JobId) -> None:
        """The sink has told all that it has of a job."""
        if (doubt := self._jobs.get(job_id)) and doubt.sink_to_ask:
            doubt.sink_to_ask = False
            self._end_if_certain(job_id)

    def forget(self, job_id: JobId) -> None:
        """A job has ended."""
        self._jobs.pop(job_id, None)

    def close(self) -> None:
        """Wait for nobody any more."""
        self._awaited.clear()
        self._jobs.clear()

    def _look(self, job_id: JobId) -> None:
        """Ask the sink, and look again in a moment; what nodes do not tell in time they do not run."""
        doubt = self._jobs.get(job_id)
        if doubt is None:
            return
        now = self._loop.time()
        if doubt.sink_to_ask and self._sink:
            self._sink.ask((job_id,))
        elif not self._unanswered or now >= doubt.since + DOUBT_S:
            self._end(job_id)
            return
        self._loop.call_at(now + ASK_S, self._look, job_id)

    def _await_no_more(self, link: Link) -> None:
        if link in self._awaited:
            self._awaited.discard(link)
            if not self._awaited:
                self._handle(moves.NodesCounted(True))

    def _end_if_certain(self, job_id: JobId) -> None:
        if not self._jobs[job_id].sink_to_ask and not self._unanswered:
            self._end(job_id)

    def _end(self, job_id: JobId) -> None:
        del self._jobs[job_id]
        self._handle(moves.DoubtsEnded(job_id))
