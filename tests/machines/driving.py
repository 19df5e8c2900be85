"""What the tests of the machines share: settings for random tests, seeds of random worlds, and a stopwatch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import settings

RANDOM = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None)
"""The same examples in every run: what fails here fails everywhere."""

SEEDS = range(40)
"""Each seed is a whole history of a random world; a failing one is named by the test that shows it."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail where the block takes far longer than it should: something grows with the square of its size.

    The bound is of CPU time, and wide: it is there to tell 0.5 s from a minute, not to measure.
    """
    begun = time.process_time()
    yield
    spent = time.process_time() - begun
    assert spent < seconds, f"took {spent:.2f} s of CPU time; {seconds} s would have been plenty"
