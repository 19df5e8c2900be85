"""Which jobs are kept at hand: those in use, and the ones that were used last.

Owns no job, only names and uses. Never lets go of what is in use. Called by `sink.py`, which has a store to ask for the
rest.
"""

from __future__ import annotations

from collections import OrderedDict

from zmqtasks.messages import JobId


class Recent:
    """Count who uses a job, and say which ones may go.

    Args:
        most: jobs at hand that nobody uses.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._uses: dict[JobId, int] = {}
        self._idle: OrderedDict[JobId, None] = OrderedDict()

    def take(self, job: JobId) -> None:
        """Use a job."""
        self._idle.pop(job, None)
        self._uses[job] = self._uses.get(job, 0) + 1

    def give_back(self, job: JobId) -> list[JobId]:
        """End one use; return the jobs to let go of, which were not used for the longest time."""
        self._uses[job] -= 1
        if not self._uses[job]:
            del self._uses[job]
            self._idle[job] = None
        return [self._idle.popitem(last=False)[0] for _ in range(len(self._idle) - self._most)]

    def check(self) -> None:
        """Raise AssertionError where an invariant does not hold."""
        assert not self._uses.keys() & self._idle.keys(), f"both used and idle: {self!r}"
        assert min(self._uses.values(), default=1) > 0, repr(self)
        assert len(self._idle) <= self._most, repr(self)

    def __repr__(self) -> str:
        return f"<Recent used={self._uses} idle={list(self._idle)}>"
