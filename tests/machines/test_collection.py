"""Collection: what is recorded, once; a dict as the model; and many failures."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.machines.driving import RANDOM, within
from zmqtasks.machines.collection import FORGOTTEN_JOBS, Collection, JobForgotten, OutcomeReceived, Record, Tell
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Outcome, OutcomeKind, Settled

OK, ERROR, LOST, RETURNED = OutcomeKind.OK, OutcomeKind.ERROR, OutcomeKind.LOST, OutcomeKind.RETURNED


def outcome(start: int, stop: int, kind: OutcomeKind = OK, attempt: int = 1, job: str = "j") -> Outcome:
    return Outcome(job, attempt, "node", start, stop, kind, 0.5, b"body")


def recorded(collection: Collection, what: Outcome) -> list[tuple[int, int]]:
    """Hand over an outcome; check what is told of it, and return what of it is to be recorded."""
    *records, told = collection.handle(OutcomeReceived(what), 0.0)
    settled = Settled(what.job, what.attempt, "node", what.start, what.stop, what.kind, 0.5)
    assert told == Tell(settled), "each outcome is told, also a repetition, after its records"
    collection.check()
    for record in records:
        assert isinstance(record, Record)
        assert record.outcome is what
    return [(r.start, r.stop) for r in records if isinstance(r, Record)]


def test_a_success_is_recorded_once() -> None:
    collection = Collection()
    assert recorded(collection, outcome(0, 3)) == [(0, 3)]
    assert recorded(collection, outcome(0, 3)) == []
    assert recorded(collection, outcome(5, 6)) == [(5, 6)]
    assert recorded(collection, outcome(0, 8, attempt=2)) == [(3, 5), (6, 8)]
    assert collection.succeeded("j") == RangeSet([(0, 8)])
    assert repr(collection) == "<Collection j ok={0..8} failed=[]>"


def test_a_failure_is_recorded_once_an_attempt_and_a_success_overtakes_it() -> None:
    collection = Collection()
    assert recorded(collection, outcome(2, 3, ERROR, attempt=4)) == [(2, 3)]
    assert recorded(collection, outcome(2, 3, ERROR, attempt=4)) == []
    assert recorded(collection, outcome(2, 3, ERROR, attempt=3)) == []
    assert recorded(collection, outcome(2, 3, ERROR, attempt=5)) == [(2, 3)]
    assert collection.failed("j") == {2: (5, ERROR)}
    assert repr(collection) == "<Collection j ok={} failed=[2]>"
    assert recorded(collection, outcome(2, 3, attempt=1)) == [(2, 3)]
    assert collection.failed("j") == {}
    assert recorded(collection, outcome(2, 3, ERROR, attempt=9)) == []


def test_of_a_run_of_failures_only_the_news_is_recorded() -> None:
    collection = Collection()
    recorded(collection, outcome(3, 4, ERROR, attempt=7))
    recorded(collection, outcome(5, 6, OK, attempt=1))
    assert recorded(collection, outcome(2, 7, LOST, attempt=5)) == [(2, 3), (4, 5), (6, 7)]
    assert collection.failed("j") == {2: (5, LOST), 3: (7, ERROR), 4: (5, LOST), 6: (5, LOST)}


def test_what_was_handed_back_is_told_and_not_recorded() -> None:
    collection = Collection()
    assert recorded(collection, outcome(0, 3, RETURNED)) == []
    assert collection.missing("j", 3) == [(0, 3)]


def test_what_is_missing_has_neither_succeeded_nor_failed() -> None:
    collection = Collection()
    recorded(collection, outcome(0, 3))
    recorded(collection, outcome(4, 5, ERROR))
    assert collection.missing("j", 7) == [(3, 4), (5, 7)]
    assert collection.missing("other", 2) == [(0, 2)]
    assert collection.succeeded("other") == RangeSet()
    assert collection.failed("other") == {}


def test_a_sink_resumes_from_its_store() -> None:
    collection = Collection()
    stored = RangeSet([(0, 3)])
    collection.resume("j", stored, {4: (2, LOST)})
    assert recorded(collection, outcome(0, 4)) == [(3, 4)]
    assert stored == RangeSet([(0, 3)])
    assert collection.failed("j") == {4: (2, LOST)}
    assert recorded(collection, outcome(4, 5, ERROR, attempt=2)) == []


def test_what_a_store_has_is_added_to_what_came_meanwhile() -> None:
    collection = Collection()
    recorded(collection, outcome(0, 2))
    recorded(collection, outcome(2, 3, ERROR, attempt=5))
    recorded(collection, outcome(4, 5, ERROR, attempt=1))
    recorded(collection, outcome(6, 7, ERROR, attempt=1))
    collection.resume("j", RangeSet([(4, 5)]), {1: (7, LOST), 2: (4, LOST), 6: (2, LOST), 8: (3, LOST)})
    assert collection.succeeded("j") == RangeSet([(0, 2), (4, 5)])
    assert collection.failed("j") == {2: (5, ERROR), 6: (2, LOST), 8: (3, LOST)}
    collection.check()
    collection.let_go("j")
    assert repr(collection) == "<Collection >"
    collection.resume("j", RangeSet([(0, 2)]), {})
    assert recorded(collection, outcome(0, 3)) == [(2, 3)]


def test_a_repetition_after_the_end_of_its_job_is_not_taken_for_a_first_success() -> None:
    collection = Collection()
    recorded(collection, outcome(0, 3))
    assert collection.handle(JobForgotten("j"), 0.0) == []
    assert recorded(collection, outcome(0, 3)) == []
    assert repr(collection) == "<Collection >"
    collection.resume("j", RangeSet([(0, 2)]), {})
    assert recorded(collection, outcome(0, 3)) == [(2, 3)]


def test_nothing_is_ever_due() -> None:
    collection = Collection()
    assert collection.tick(1.0) == []
    assert collection.next_deadline() == float("inf")


JOBS = st.sampled_from(["a", "b"])


class AgainstADict(RuleBasedStateMachine):
    """What is recorded adds up to one success, or the failure of the latest attempt, for each task."""

    def __init__(self) -> None:
        super().__init__()
        self.collection = Collection()
        self.succeeded: dict[tuple[str, int], int] = {}
        self.failed: dict[tuple[str, int], int] = {}
        self.forgotten: set[str] = set()

    @rule(
        job=JOBS,
        start=st.integers(0, 9),
        length=st.integers(1, 6),
        kind=st.sampled_from([OK, OK, ERROR, LOST, RETURNED]),
        attempt=st.integers(1, 5),
    )
    def receive(self, job: str, start: int, length: int, kind: OutcomeKind, attempt: int) -> None:
        parts = recorded(self.collection, outcome(start, start + length, kind, attempt, job))
        expected = set()
        for task in [(job, index) for index in range(start, start + length)]:
            if kind is RETURNED or task in self.succeeded or job in self.forgotten:
                continue
            if kind is OK:
                self.succeeded[task] = attempt
                self.failed.pop(task, None)
                expected.add(task)
            elif self.failed.get(task, 0) < attempt:
                self.failed[task] = attempt
                expected.add(task)
        assert {(job, index) for part in parts for index in range(*part)} == expected
        assert sum(b - a for a, b in parts) == len(expected)

    @rule(job=JOBS)
    def forget(self, job: str) -> None:
        self.collection.handle(JobForgotten(job), 0.0)
        self.forgotten.add(job)
        self.succeeded = {task: attempt for task, attempt in self.succeeded.items() if task[0] != job}
        self.failed = {task: attempt for task, attempt in self.failed.items() if task[0] != job}

    @invariant()
    def same(self) -> None:
        for job in ("a", "b"):
            done = {index for part in self.collection.succeeded(job) for index in range(*part)}
            assert done == {index for name, index in self.succeeded if name == job}
            told = {i: attempt for i, (attempt, _) in self.collection.failed(job).items()}
            assert told == {i: a for (name, i), a in self.failed.items() if name == job}


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = RANDOM


def test_long_run_of_50_000_tasks_that_fail_and_then_succeed() -> None:
    with within(5.0):
        collection = Collection()
        for index in range(50_000):
            collection.handle(OutcomeReceived(outcome(index, index + 1, ERROR)), 0.0)
        for index in range(50_000):
            collection.handle(OutcomeReceived(outcome(index, index + 1, attempt=2)), 0.0)
    assert repr(collection) == "<Collection j ok={0..50000} failed=[]>"


def test_long_run_of_20_000_jobs_leaves_little_behind() -> None:
    with within(3.0):
        collection = Collection()
        for number in range(20_000):
            collection.handle(OutcomeReceived(outcome(0, 1, job=f"p:{number}")), 0.0)
            collection.handle(JobForgotten(f"p:{number}"), 0.0)
    assert repr(collection) == "<Collection >"
    assert len(collection._forgotten) == FORGOTTEN_JOBS


@pytest.mark.parametrize("total", [0, 1])
def test_an_unknown_job_is_missing_as_a_whole(total: int) -> None:
    assert Collection().missing("j", total) == [(0, total)][:total]
