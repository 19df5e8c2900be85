"""What a zygote is taught: which jobs, which modules, when, and what its workers then know."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.processes import tasks
from tests.processes.crew import Crew, make_chunk, make_job, opened
from zmqtasks.messages import Job, SessionId, Tasks
from zmqtasks.options import Limits
from zmqtasks.processes import linux
from zmqtasks.processes.lessons import MOST_FUNCTION_BYTES, MOST_JOBS, Lessons, with_learnt
from zmqtasks.records import replace
from zmqtasks.wire import codec


def told(lessons: Lessons) -> tuple[list[str], list[str]]:
    """Return names of modules and of jobs that are told now."""
    words, _, frame = lessons.tell().partition(b"\n")
    message = codec.decode(frame, Limits()) if frame else Tasks(SessionId(0, 0), 0)
    assert isinstance(message, Tasks)
    return words.decode().split(), [job.id for job in message.jobs]


def test_a_job_is_taught_when_a_second_worker_was_told_of_it() -> None:
    lessons, job = Lessons(takes_jobs=True), make_job(tasks.double)
    lessons.learn(job)
    assert told(lessons) == (["tests.processes.tasks"], [])
    for _ in range(3):
        lessons.learn(job)
    assert lessons.known == {}
    assert told(lessons) == ([], [job.id])
    assert lessons.known == {job.id: job}
    lessons.learn(job)
    assert told(lessons) == ([], [])


def test_another_zygote_is_taught_anew() -> None:
    lessons, job = Lessons(takes_jobs=True), make_job(tasks.double)
    for _ in range(2):
        lessons.learn(job)
    told(lessons)
    lessons.begin_again()
    assert lessons.known == {}
    assert told(lessons) == (["tests.processes.tasks"], [job.id])


def test_what_is_large_or_not_wanted_or_comes_and_goes_is_not_taught() -> None:
    job = make_job(tasks.double)
    large = replace(make_job(tasks.double), function=bytes(MOST_FUNCTION_BYTES + 1))
    passing = [make_job(tasks.double) for _ in range(MOST_JOBS + 1)]
    for lessons, jobs in ((Lessons(takes_jobs=False), [job]), (Lessons(takes_jobs=True), [large, *passing])):
        for _ in range(3):
            for each in jobs:
                lessons.learn(each)
        assert told(lessons)[1] == []


def test_those_that_were_learnt_first_are_forgotten_first() -> None:
    jobs = [make_job(tasks.double) for _ in range(MOST_JOBS + 1)]
    known = with_learnt({}, tuple(jobs[:MOST_JOBS]))
    known = with_learnt(known, (jobs[0],))
    assert list(with_learnt(known, (jobs[-1],)).values()) == [*jobs[2:MOST_JOBS], jobs[0], jobs[-1]]


@pytest.mark.skipif(not linux.AVAILABLE, reason="needs a zygote")
def test_workers_that_come_later_know_the_job() -> None:
    def run(slot: int, job: Job, *ended: str) -> dict[int, Any]:
        chunk = make_chunk(job, [21])
        crew.events.clear()
        crew.force.send(slot, Tasks(SessionId(0, 0), 0, (job,), (chunk,), ended))
        return opened(crew.until(lambda: crew.said(chunk, slot)))

    with Crew(slots=3) as crew:
        job = make_job(tasks.double)
        for slot in range(2):
            crew.ready(slot)
            assert run(slot, job) == {0: 42}
        pid = crew.ready(2)
        assert crew.force._seats[2]._knows == {job.id: job}
        assert run(2, job) == {0: 42}
        # One of the same name from another session is told, and so is what was ended before.
        renewed = replace(make_job(tasks.pid_of_worker), id=job.id)
        assert run(2, renewed) == {0: pid}
        other = make_job(tasks.double)
        assert run(2, other, job.id) == {0: 42}
        assert run(2, job) == {0: 42}
    assert pid != os.getpid()
