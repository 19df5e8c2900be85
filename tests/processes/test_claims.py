"""Claims: what a worker begins of what it was given, and what its node may give to another."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from zmqtasks.processes import linux
from zmqtasks.processes.claims import Claims
from zmqtasks.processes.progress import CLAIMED, ProgressTable, slot_of, slots_for_writing

needs_fence = pytest.mark.skipif(not linux.fence(), reason="this kernel does not put memory in order for others")


@pytest.fixture
def table() -> Iterator[ProgressTable]:
    table = ProgressTable(2)
    yield table
    table.close()


class Side:
    """The worker's side of slot 1, and what it told."""

    def __init__(self, table: ProgressTable) -> None:
        self.told: list[tuple[int, int]] = []
        self.slot = slot_of(slots_for_writing(table.fd), 1)
        # The list and not ourselves: a circle would keep the memory open beyond the test.
        self.claims = Claims(self.slot, lambda first, until, told=self.told: told.append((first, until)))  # type: ignore[misc]


def test_all_is_begun_where_nothing_is_taken_back(table: ProgressTable) -> None:
    worker = Side(table)
    worker.claims.open(100, 110)
    assert worker.claims.claim(100, 104) == 104
    assert list(worker.claims.one_by_one(range(6), 104)) == [0, 1, 2, 3, 4, 5]
    assert worker.claims.end == 110
    assert worker.told == []


@needs_fence
def test_half_of_what_is_not_begun_is_taken_back_and_passed_over(table: ProgressTable) -> None:
    worker = Side(table)
    worker.claims.open(100, 110)
    assert worker.claims.claim(100, 101) == 101
    assert table.take_back(1, 10) == 5, "9 are not begun, the later 5 go"
    assert list(worker.claims.one_by_one("abcdefghij", 100)) == list("abcde")
    assert worker.claims.end == 105
    assert [worker.claims.claim(103, 108), worker.claims.claim(107, 108)] == [105, 107]
    assert worker.told == [(5, 10)]
    worker.claims.open(300, 302)
    assert worker.claims.claim(300, 302) == 302, "what was given later is not meant"
    assert worker.claims.end == 302


@needs_fence
def test_more_can_be_taken_back_of_the_same_and_what_is_begun_cannot(table: ProgressTable) -> None:
    worker = Side(table)
    worker.claims.open(0, 10)
    worker.claims.claim(0, 1)
    assert [table.take_back(1, 10) for _ in range(5)] == [5, 3, 2, 1, 10]
    assert table.take_back(1, 12) == 12, "two ranges cannot be told at once"
    assert worker.claims.claim(1, 2) == 1
    assert worker.told == [(1, 10)]
    worker.claims.open(50, 52)
    assert table.take_back(1, 12) == 11, "the former range is passed"
    assert worker.claims.claim(50, 52) == 51
    assert worker.told == [(1, 10), (11, 12)]


@needs_fence
def test_a_chunk_that_is_taken_back_as_a_whole_is_told_of_once(table: ProgressTable) -> None:
    worker = Side(table)
    worker.claims.open(0, 1)
    worker.claims.claim(0, 1)
    assert [table.take_back(1, 4) for _ in range(3)] == [2, 1, 4]
    for start in (10, 20, 30):
        worker.claims.open(start, start + 1)
        assert worker.claims.claim(start, start + 1) == start
    assert worker.told == [(1, 4)]


@needs_fence
def test_of_what_is_claimed_at_once_the_part_before_the_range_is_begun(table: ProgressTable) -> None:
    worker = Side(table)
    worker.claims.open(0, 100)
    worker.claims.claim(0, 1)
    first = table.take_back(1, 100)
    assert worker.claims.claim(1, 100) == first
    assert worker.told == [(first, 100)]


def test_without_a_fence_only_what_the_worker_tells_counts(
    table: ProgressTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "fence", lambda: False)
    worker = Side(table)
    worker.claims.open(0, 10)
    worker.claims.claim(0, 1)
    assert table.take_back(1, 10) == 10
    assert worker.claims.claim(1, 10) == 5
    assert worker.told == [(5, 10)]


@needs_fence
def test_a_range_that_the_worker_may_be_about_to_look_at_is_not_written_over(table: ProgressTable) -> None:
    worker = Side(table)
    worker.claims.open(0, 100)
    worker.claims.claim(0, 1)
    first = table.take_back(1, 100)
    worker.slot[CLAIMED] = 100  # it claims all, and has not looked yet
    assert table.take_back(1, 150) == 150
    assert worker.claims.claim(1, 100) == first < 100
    assert worker.told == [(first, 100)]
    assert table.take_back(1, 150) == 125, "now it has"


@pytest.mark.parametrize("seed", range(30))
def test_each_task_is_begun_by_the_worker_or_taken_from_it(table: ProgressTable, seed: int) -> None:
    chance = random.Random(seed)
    worker, given = Side(table), 0
    begun: set[int] = set()
    moved: set[int] = set()

    def take_back() -> None:
        if chance.random() < 0.4:
            moved.update(range(table.take_back(1, given), given))

    for _ in range(50):
        count = chance.randrange(1, 12)
        base, given = given, given + count
        take_back()
        worker.claims.open(0, count)
        at = 0
        while at < worker.claims.end:
            stop = worker.claims.claim(at, min(count, at + chance.randrange(1, 4)))
            take_back()
            # A task that fails ends a lot: the others are claimed again.
            stop = chance.randrange(at + 1, stop + 1) if stop > at else at
            begun.update(range(base + at, base + stop))
            at = stop
        moved.update(p for first, until in worker.told for p in range(first, until))
        worker.told.clear()
    assert begun.isdisjoint(moved)
    assert begun | moved == set(range(given))
