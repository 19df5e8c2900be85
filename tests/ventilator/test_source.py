"""The arguments of a job: encoded once, in any order, kept until they have ended."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from zmqtasks.options import TaskOptions
from zmqtasks.ventilator.source import Source
from zmqtasks.wire import payload
from zmqtasks.wire.payload import Form

MOST_BYTES = 10_000


def source_of(*segments: Sequence[Any]) -> Source:
    source = Source(TaskOptions(), MOST_BYTES)
    for items in segments:
        source.add(items, Form.ONE)
    return source


def values(source: Source, start: int, stop: int) -> dict[int, Any]:
    """Return the arguments that the parts of [start, stop) hold."""
    parts, _ = source.encode(start, stop)
    found: dict[int, Any] = {}
    for part in parts:
        run = payload.unpack(part.body, first=part.start - part.origin, last=part.stop - part.origin).values
        found |= dict(zip(range(part.start, part.stop), run, strict=True))
    return found


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_whatever_the_order_each_task_gets_its_own_argument(sizes: list[int], chance: Any) -> None:
    total = sum(sizes)
    bounds = [0, *(sum(sizes[: place + 1]) for place in range(len(sizes)))]
    source = source_of(*(range(a, b) for a, b in pairwise(bounds)))
    for _ in range(2 * total):
        start = chance.randrange(total)
        stop = chance.randint(start + 1, total)
        assert values(source, start, stop) == {index: index for index in range(start, stop)}
    for index in chance.sample(range(total), total):
        source.release(index, index + 1)
    assert source.kept_bytes == 0


def test_an_argument_is_encoded_once() -> None:
    source = source_of([b"x" * 100] * 10)
    values(source, 0, 10)
    kept = source.kept_bytes
    values(source, 3, 7)
    assert source.kept_bytes == kept


def test_what_cannot_be_encoded_is_told_once_and_harms_no_neighbour() -> None:
    source = source_of([1, b"x" * 2 * MOST_BYTES, 3])
    parts, failures = source.encode(0, 3)
    assert [(part.start, part.stop) for part in parts] == [(0, 1), (2, 3)]
    assert [index for index, _ in failures] == [1]
    assert source.encode(0, 3) == (parts, [])


def test_a_task_that_ends_twice_does_not_take_its_neighbours_with_it() -> None:
    source = source_of(range(10))
    values(source, 0, 10)
    for _ in range(5):
        source.release(0, 5)
    assert values(source, 5, 10) == {index: index for index in range(5, 10)}


def test_what_was_given_up_before_it_was_sent_is_let_go() -> None:
    source = source_of(range(10), range(10, 20))
    source.release(0, 15)
    assert values(source, 0, 20) == {index: index for index in range(15, 20)}
