"""What a zygote is taught, so that each worker it forks knows it from the start: modules by name, and jobs.

Owns what has been told to the zygote there is, and what a worker knows that is forked now. Nothing of a user's is
opened or executed by it: a job is known by its options and by its function as it came. `zygote_spawner.py` asks what
to tell, `mould.py` takes it.
"""

from __future__ import annotations

from collections.abc import Mapping

from zmqtasks.messages import NO_SESSION, Job, JobId, Tasks
from zmqtasks.options import KIB
from zmqtasks.wire import codec, payload

MOST_JOBS = 8
"""Known to a worker from the start: the last ones; of others it is told when it is given the first task."""
MOST_FUNCTION_BYTES = 4 * KIB
"""Of a job that is taught: all of them have to fit one packet."""
MOST_MODULES = 100
"""Whose code the zygote remembers; a bound, for tasks may come from ever new ones."""
_MODULES_AT_ONCE = 20


class Lessons:
    """What is told to one zygote after the other.

    Args:
        takes_jobs: whether jobs are taught as well.
    """

    def __init__(self, *, takes_jobs: bool) -> None:
        self._takes_jobs = takes_jobs
        self._modules: dict[str, bool] = {}  # and whether this zygote has been told
        self._seen: dict[JobId, Job] = {}
        self._untold: tuple[Job, ...] = ()
        self.known: Mapping[JobId, Job] = {}
        """What a worker knows that is forked after all that was told; never changed, but replaced."""

    def learn(self, job: Job) -> None:
        """Take note that a worker was told of a job: others will be."""
        if self.known.get(job.id) is job:
            return
        if self._seen.get(job.id) is job:  # by a second worker: where jobs come and go, none is worth a lesson
            if self._takes_jobs and job not in self._untold and len(job.function) <= MOST_FUNCTION_BYTES:
                self._untold = (*self._untold, job)[-MOST_JOBS:]
            return
        self._seen[job.id] = job
        if len(self._seen) > MOST_JOBS:
            del self._seen[next(iter(self._seen))]
        if len(self._modules) < MOST_MODULES and (module := payload.module_of(job.function)):
            self._modules.setdefault(module, False)

    def begin_again(self) -> None:
        """Take note that there is another zygote, which knows nothing."""
        self._modules = dict.fromkeys(self._modules, False)
        self._untold = tuple(self.known.values())
        self.known = {}

    def tell(self) -> bytes:
        """Return what the zygote has not been told: names of modules, a line feed, and a message that has jobs."""
        names = [module for module, told in self._modules.items() if not told][:_MODULES_AT_ONCE]
        for name in names:
            self._modules[name] = True
        jobs, self._untold = self._untold, ()
        self.known = with_learnt(self.known, jobs)
        return " ".join(names).encode() + b"\n" + (codec.encode(Tasks(NO_SESSION, 0, jobs)) if jobs else b"")


def with_learnt(known: Mapping[JobId, Job], jobs: tuple[Job, ...]) -> Mapping[JobId, Job]:
    """Return what is known when these have been learnt as well; of too many, those that were learnt first are not."""
    if not jobs:
        return known
    names = {job.id for job in jobs}
    kept = [job for job in known.values() if job.id not in names]
    return {job.id: job for job in [*kept, *jobs][-MOST_JOBS:]}
