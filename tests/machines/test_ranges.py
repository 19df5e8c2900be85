"""RangeSet: examples, a set of integers as the model, and what many ranges cost."""

from __future__ import annotations

import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.machines.driving import RANDOM, within
from zmqtasks.machines.ranges import RangeSet


def test_touching_and_overlapping_ranges_become_one() -> None:
    ranges = RangeSet([(0, 2), (4, 6), (10, 12)])
    assert repr(ranges) == "{0..2, 4..6, 10..12}"
    ranges.add(2, 4)
    assert repr(ranges) == "{0..6, 10..12}"
    ranges.add(5, 11)
    assert repr(ranges) == "{0..12}"
    assert len(ranges) == 1
    assert ranges.count() == 12


def test_removing_cuts_a_range_in_two() -> None:
    ranges = RangeSet([(0, 10)])
    ranges.remove(3, 5)
    assert list(ranges) == [(0, 3), (5, 10)]
    ranges.remove(0, 6)
    assert list(ranges) == [(6, 10)]
    ranges.remove(20, 30)
    assert ranges.count() == 4


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (6, 5)])
def test_an_empty_range_changes_nothing(start: int, stop: int) -> None:
    ranges = RangeSet([(0, 10)])
    ranges.add(start, stop)
    ranges.remove(start, stop)
    assert ranges == RangeSet([(0, 10)])
    assert ranges.common(start, stop) == []
    assert ranges.missing(start, stop) == []


def test_common_and_missing_divide_a_range() -> None:
    ranges = RangeSet([(2, 4), (6, 8)])
    assert ranges.common(3, 10) == [(3, 4), (6, 8)]
    assert ranges.missing(3, 10) == [(4, 6), (8, 10)]
    assert ranges.missing(0, 3) == [(0, 2)]
    assert ranges.missing(2, 4) == []


def test_the_first_range_is_taken_in_parts() -> None:
    ranges = RangeSet([(2, 5), (8, 9)])
    assert ranges.first() == (2, 5)
    assert ranges.pop_first(2) == (2, 4)
    assert ranges.pop_first(2) == (4, 5)
    assert ranges.pop_first(2) == (8, 9)
    assert not ranges
    with pytest.raises(IndexError):
        ranges.pop_first(1)
    with pytest.raises(IndexError):
        ranges.first()


def test_the_first_gap_is_found_from_anywhere() -> None:
    ranges = RangeSet([(2, 5), (8, 9)])
    assert [ranges.first_gap(start) for start in (0, 1, 2, 4, 5, 7, 8, 9, 20)] == [0, 1, 5, 5, 5, 7, 9, 9, 20]


def test_a_copy_is_independent_and_equal() -> None:
    ranges = RangeSet([(0, 3)])
    twin = ranges.copy()
    assert twin == ranges
    twin.add(7, 8)
    assert ranges == RangeSet([(0, 3)])
    assert twin.count() == 4
    assert ranges != twin
    assert ranges != {0, 1, 2}
    with pytest.raises(TypeError):
        hash(ranges)


def test_ranges_can_be_changed_while_they_are_gone_through() -> None:
    ranges = RangeSet([(0, 1), (2, 3), (4, 5)])
    for start, stop in ranges:
        ranges.remove(start, stop)
    assert not ranges


NUMBERS = st.integers(0, 30)


class AgainstASet(RuleBasedStateMachine):
    """A RangeSet does what a set of integers does."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = RangeSet()
        self.model: set[int] = set()

    @rule(start=NUMBERS, stop=NUMBERS)
    def add(self, start: int, stop: int) -> None:
        self.ranges.add(start, stop)
        self.model |= set(range(start, stop))

    @rule(start=NUMBERS, stop=NUMBERS)
    def remove(self, start: int, stop: int) -> None:
        self.ranges.remove(start, stop)
        self.model -= set(range(start, stop))

    @rule(most=st.integers(1, 5))
    def pop_first(self, most: int) -> None:
        if self.model:
            popped = set(range(*self.ranges.pop_first(most)))
            assert min(self.model) in popped
            assert len(popped) <= most
            assert popped <= self.model
            self.model -= popped

    @rule(start=NUMBERS, stop=NUMBERS)
    def ask(self, start: int, stop: int) -> None:
        asked = set(range(start, stop))
        assert {i for part in self.ranges.common(start, stop) for i in range(*part)} == self.model & asked
        assert {i for part in self.ranges.missing(start, stop) for i in range(*part)} == asked - self.model
        assert self.ranges.first_gap(start) == min(set(range(start, 32)) - self.model)

    @invariant()
    def same(self) -> None:
        assert {i for part in self.ranges for i in range(*part)} == self.model
        assert {i for i in range(31) if i in self.ranges} == self.model
        assert self.ranges.count() == len(self.model)
        assert bool(self.ranges) == bool(self.model)
        flat = [bound for part in self.ranges for bound in part]
        assert flat == sorted(set(flat)), "sorted, and no two ranges touch"
        assert self.ranges.copy() == self.ranges == RangeSet(self.ranges)


TestAgainstASet = AgainstASet.TestCase
TestAgainstASet.settings = RANDOM


def test_long_run_of_200_000_tasks() -> None:
    with within(5.0):
        in_order = RangeSet()
        for index in range(200_000):
            in_order.add(index, index + 1)
        assert list(in_order) == [(0, 200_000)]
        indices = list(range(0, 100_000, 2))
        random.Random(1).shuffle(indices)
        scattered = RangeSet()
        for index in indices:
            scattered.add(index, index + 1)
        assert len(scattered) == scattered.count() == 50_000
        while scattered:
            scattered.pop_first(1)
        assert scattered.count() == 0
