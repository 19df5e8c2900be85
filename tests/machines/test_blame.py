"""The ledger: the rows of its table, a count per task as the model, and 5,000 failures."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.machines.driving import RANDOM, within
from zmqtasks.machines.blame import (
    LONGEST_BACKOFF_S,
    LOSSES_UNTIL_ALONE_IN_CHUNK,
    LOSSES_UNTIL_ALONE_ON_NODE,
    STRIKES,
    Blame,
    Judgement,
    Ledger,
    Verdict,
    pause_s,
)
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import OutcomeKind
from zmqtasks.options import TaskOptions

AGAIN, FINAL = Verdict.AGAIN, Verdict.FINAL
OWN_FAILURES = [OutcomeKind.ERROR, OutcomeKind.TIMEOUT, OutcomeKind.OUT_OF_MEMORY, OutcomeKind.TOO_BIG]


@pytest.mark.parametrize("kind", OWN_FAILURES)
def test_a_failure_of_its_own_is_tried_again_while_retries_last(kind: OutcomeKind) -> None:
    ledger = Ledger(TaskOptions(retries=2, backoff=0.5, jitter=0.0))
    assert [ledger.failed(7, kind) for _ in range(3)] == [
        Judgement(AGAIN, 0.5),
        Judgement(AGAIN, 1.0),
        Judgement(FINAL),
    ]
    assert ledger.failed(8, kind) == Judgement(AGAIN, 0.5), "each task has its own"
    assert repr(ledger) == "<Ledger tries={7: 2, 8: 1} crashes={} strikes={} losses=[{}, {}, {}, {}]>"


def test_how_often_a_task_was_run_is_told_of_ranges_of_equals() -> None:
    ledger = Ledger(TaskOptions(retries=5))
    assert ledger.runs_from(0, 1_000) == (0, 1_000)
    for index in (7, 8, 9, 9, 20):
        ledger.failed(index, OutcomeKind.ERROR)
    assert ledger.runs_from(0, 1_000) == (0, 7)
    assert ledger.runs_from(0, 5) == (0, 5)
    assert ledger.runs_from(7, 1_000) == (1, 2)
    assert ledger.runs_from(7, 1) == (1, 1)
    assert ledger.runs_from(9, 1_000) == (2, 1)
    assert ledger.runs_from(10, 1_000) == (0, 10)
    assert ledger.runs_from(21, 1_000) == (0, 1_000)


def test_runs_are_counted_where_nothing_bounds_them() -> None:
    ledger = Ledger(TaskOptions(retries=0))
    for runs in range(1, 100):
        assert ledger.asked(3, 0.0).verdict is AGAIN
        assert ledger.runs_from(3, 10) == (runs, 1)


def test_a_pause_is_longer_by_a_part_that_differs_from_task_to_task_and_try_to_try() -> None:
    options = TaskOptions(retries=9, backoff=2.0, jitter=0.5)
    pauses = [Ledger(options, "client:1").failed(index, OutcomeKind.ERROR).delay_s for index in range(1_000)]
    assert all(2.0 <= pause <= 3.0 for pause in pauses)
    assert len(set(pauses)) == 1_000
    tenths = [sum(2.0 + tenth / 10 <= pause < 2.1 + tenth / 10 for pause in pauses) for tenth in range(10)]
    assert all(80 <= number <= 120 for number in tenths), "evenly spread"
    assert pause_s(options, "client:1", 7, 0) == pauses[7], "the same for who is asked again"
    assert len({pause_s(options, job, 7, 0) for job in ("a:1", "a:2", "b:1")}) == 3
    assert len({pause_s(options, "a:1", 7, tries) / 2**tries for tries in range(9)}) == 9


@pytest.mark.parametrize(
    ("retry_on", "again"), [(None, "ETM"), (";", ""), ("TIMEOUT;", "T"), ("TIMEOUT,OUT_OF_MEMORY;", "TM")]
)
def test_what_is_not_worth_another_run_is_final(retry_on: str | None, again: str) -> None:
    kinds = {"E": OutcomeKind.ERROR, "T": OutcomeKind.TIMEOUT, "M": OutcomeKind.OUT_OF_MEMORY}
    for letter, kind in kinds.items():
        ledger = Ledger(TaskOptions(retries=1, retry_on=retry_on))
        assert (ledger.failed(0, kind).verdict is AGAIN) == (letter in again)
        assert ledger.asked(1, 0.0).verdict is AGAIN, "its worker has judged that"


def test_without_retries_the_first_failure_is_final() -> None:
    assert Ledger(TaskOptions()).failed(0, OutcomeKind.ERROR) == Judgement(FINAL)


def test_crashes_have_a_limit_of_their_own_and_make_a_task_run_alone() -> None:
    ledger = Ledger(TaskOptions(crash_limit=3))
    assert ledger.care(5) is Blame.NONE
    assert [ledger.failed(5, OutcomeKind.CRASHED).verdict for _ in range(3)] == [AGAIN, AGAIN, FINAL]
    assert ledger.care(5) is Blame.CHUNK_ALONE
    assert ledger.run_without_blame(0, 10) == 5
    assert ledger.run_without_blame(6, 10) == 10
    assert ledger.run_without_blame(5, 10) == 1


def test_losses_make_a_task_run_alone_first_in_its_chunk_then_on_its_node() -> None:
    ledger = Ledger(TaskOptions())
    cares = []
    for _ in range(5):
        assert ledger.lost(10, 20, alone=False) is AGAIN
        cares.append(ledger.care(15))
    assert cares == [Blame.NONE, Blame.CHUNK_ALONE, Blame.CHUNK_ALONE, Blame.NODE_ALONE, Blame.NODE_ALONE]
    assert ledger.care(9) is ledger.care(20) is Blame.NONE
    assert ledger.run_without_blame(0, 100) == 10
    assert repr(ledger) == "<Ledger tries={} crashes={} strikes={} losses=[{10..20}, {10..20}, {10..20}, {10..20}]>"


def test_of_tasks_the_first_is_found_that_needs_no_node_of_its_own() -> None:
    ledger = Ledger(TaskOptions())
    assert ledger.first_sociable(RangeSet([(0, 9)])) == (0, 9)
    for _ in range(LOSSES_UNTIL_ALONE_ON_NODE):
        ledger.lost(0, 3, alone=False)
    assert ledger.first_sociable(RangeSet([(1, 2), (2, 9)])) == (3, 9)
    assert ledger.first_sociable(RangeSet([(1, 2)])) is None


def test_strikes_are_for_tasks_that_were_alone() -> None:
    ledger = Ledger(TaskOptions())
    cares = []
    verdicts = []
    for _ in range(STRIKES):
        verdicts.append(ledger.lost(4, 5, alone=True))
        cares.append(ledger.care(4))
    assert verdicts == [AGAIN, AGAIN, Verdict.NODE_KILLER]
    assert cares == [Blame.CHUNK_ALONE, Blame.NODE_ALONE, Blame.NODE_ALONE]


def test_who_had_no_part_in_a_death_is_pardoned() -> None:
    ledger = Ledger(TaskOptions())
    ledger.lost(0, 9, alone=False)
    ledger.lost(0, 9, alone=False)
    ledger.pardon(0, 4)
    ledger.pardon(5, 9)
    ledger.pardon(20, 30)
    assert [ledger.rungs(index) for index in (0, 3, 4, 5, 8, 9)] == [1, 1, 2, 1, 1, 0]
    assert ledger.strike(4) is AGAIN
    assert ledger.rungs(4) == 2, "one death counts once: as a loss first, and then as a strike"


def test_a_strike_is_taken_back_and_one_of_a_task_that_has_ended_is_nothing() -> None:
    ledger = Ledger(TaskOptions())
    for _ in range(2):
        ledger.lost(4, 5, alone=True)
    ledger.pardon_strike(4)
    ledger.pardon(4, 5, 2)
    assert repr(ledger) == "<Ledger tries={} crashes={} strikes={4: 1} losses=[{4..5}, {4..5}, {}, {}]>"
    ledger.pardon_strike(4)
    ledger.pardon(4, 5, 2)
    ledger.pardon_strike(4)
    assert repr(ledger) == "<Ledger tries={} crashes={} strikes={} losses=[{}, {}, {}, {}]>"


def test_at_most_once_nothing_is_tried_again() -> None:
    ledger = Ledger(TaskOptions(retry=False, retries=5))
    assert ledger.failed(0, OutcomeKind.ERROR) == Judgement(FINAL)
    assert ledger.failed(0, OutcomeKind.CRASHED) == Judgement(FINAL)
    assert ledger.lost(0, 9, alone=False) is Verdict.LOST


def test_a_task_that_asks_to_be_run_again_is_counted_where_there_is_a_count() -> None:
    free, once = Ledger(TaskOptions()), Ledger(TaskOptions(retry=False))
    for _ in range(100):
        assert free.asked(3, 1.5) == once.asked(3, 1.5) == Judgement(Verdict.AGAIN, 1.5)
    counted = Ledger(TaskOptions(retries=2, backoff=7.0, retry=False))
    assert counted.asked(3, 0.5) == Judgement(Verdict.AGAIN, 0.5), "no back-off on top of what it asked for"
    assert counted.asked(3, 0.0) == Judgement(Verdict.AGAIN, 0.0)
    assert counted.asked(3, 0.5) == Judgement(Verdict.FINAL)
    assert counted.asked(4, 0.5) == Judgement(Verdict.AGAIN, 0.5)
    counted.settled(3, 4)
    assert counted.asked(3, 0.5).verdict is Verdict.AGAIN
    both = Ledger(TaskOptions(retries=1))
    assert both.failed(3, OutcomeKind.ERROR).verdict is Verdict.AGAIN
    assert both.asked(3, 0.0).verdict is Verdict.FINAL, "each is a try"


def test_success_wipes_the_slate() -> None:
    ledger = Ledger(TaskOptions(retries=1))
    ledger.failed(3, OutcomeKind.ERROR)
    ledger.failed(3, OutcomeKind.CRASHED)
    ledger.lost(3, 4, alone=True)
    ledger.lost(0, 9, alone=False)
    ledger.settled(3, 4)
    assert repr(ledger) == "<Ledger tries={} crashes={} strikes={} losses=[{0..3, 4..9}, {}, {}, {}]>"
    assert ledger.failed(3, OutcomeKind.ERROR) == Judgement(AGAIN)


INDICES = st.integers(0, 11)


class AgainstCounters(RuleBasedStateMachine):
    """A ledger does what four counts per task do."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(TaskOptions(retries=2, backoff=1.0, jitter=0.0, crash_limit=2))
        self.tries: Counter[int] = Counter()
        self.crashes: Counter[int] = Counter()
        self.losses: Counter[int] = Counter()
        self.strikes: Counter[int] = Counter()

    @rule(index=INDICES, kind=st.sampled_from(OWN_FAILURES))
    def fail(self, index: int, kind: OutcomeKind) -> None:
        final = self.tries[index] == 2
        self.tries[index] += not final
        assert self.ledger.failed(index, kind) == (Judgement(FINAL) if final else Judgement(AGAIN, self.tries[index]))

    @rule(index=INDICES)
    def crash(self, index: int) -> None:
        self.crashes[index] += 1
        assert self.ledger.failed(index, OutcomeKind.CRASHED) == Judgement(FINAL if self.crashes[index] >= 2 else AGAIN)

    @rule(start=INDICES, length=st.integers(1, 6))
    def lose(self, start: int, length: int) -> None:
        self.losses.update(range(start, start + length))
        assert self.ledger.lost(start, start + length, alone=False) is AGAIN

    @rule(index=INDICES)
    def strike(self, index: int) -> None:
        self.strikes[index] += 1
        killer = self.strikes[index] >= STRIKES
        self.losses[index] = max(min(self.losses[index], 4) + 1, 2 * self.strikes[index])
        assert self.ledger.lost(index, index + 1, alone=True) is (Verdict.NODE_KILLER if killer else AGAIN)

    @rule(start=INDICES, length=st.integers(1, 6))
    def pardon(self, start: int, length: int) -> None:
        for index in range(start, start + length):
            self.losses[index] = max(0, min(self.losses[index], LOSSES_UNTIL_ALONE_ON_NODE) - 1)
        self.ledger.pardon(start, start + length)

    @rule(index=INDICES)
    def pardon_strike(self, index: int) -> None:
        self.strikes[index] = max(0, self.strikes[index] - 1)
        self.ledger.pardon_strike(index)

    @rule(start=INDICES, length=st.integers(1, 6))
    def settle(self, start: int, length: int) -> None:
        self.ledger.settled(start, start + length)
        for counts in (self.tries, self.crashes, self.losses, self.strikes):
            for index in range(start, start + length):
                del counts[index]

    def care(self, index: int) -> Blame:
        if self.losses[index] >= LOSSES_UNTIL_ALONE_ON_NODE:
            return Blame.NODE_ALONE
        suspicious = self.losses[index] >= LOSSES_UNTIL_ALONE_IN_CHUNK or self.crashes[index]
        return Blame.CHUNK_ALONE if suspicious else Blame.NONE

    @invariant()
    def same(self) -> None:
        cares = [self.care(index) for index in range(20)]
        assert [self.ledger.care(index) for index in range(20)] == cares
        for start in range(12):
            clean = next((i for i in range(start, start + 5) if cares[i] is not Blame.NONE), start + 5)
            assert self.ledger.run_without_blame(start, 5) == max(1, clean - start)
        sociable = next(index for index in range(20) if cares[index] is not Blame.NODE_ALONE)
        found = self.ledger.first_sociable(RangeSet([(0, 20)]))
        assert found is not None
        assert found[0] == sociable


TestAgainstCounters = AgainstCounters.TestCase
TestAgainstCounters.settings = RANDOM


def test_long_run_of_5_000_failures_of_one_task() -> None:
    ledger = Ledger(TaskOptions(retries=10_000, backoff=0.1, jitter=0.0))
    waits = [ledger.failed(0, OutcomeKind.ERROR).delay_s for _ in range(5_000)]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_BACKOFF_S
    for _ in range(5_000):
        ledger.lost(0, 5, alone=False)
    ledger.settled(0, 5)
    assert repr(ledger) == "<Ledger tries={} crashes={} strikes={} losses=[{}, {}, {}, {}]>"


def test_long_run_of_50_000_tasks_that_fail_and_then_succeed() -> None:
    with within(5.0):
        ledger = Ledger(TaskOptions(retries=1))
        for index in range(50_000):
            ledger.failed(index, OutcomeKind.CRASHED if index % 2 else OutcomeKind.ERROR)
        for index in range(50_000):
            ledger.run_without_blame(index, 3)
            ledger.settled(index, index + 1)
    assert repr(ledger) == "<Ledger tries={} crashes={} strikes={} losses=[{}, {}, {}, {}]>"
