"""Makes a schedule that fails smaller: faults and jobs are left out while it still fails in the same way.

Owns the search: delta debugging (Zeller and Hildebrandt, 2002), halves first, then ever smaller parts. A run is the
same for the same schedule, so one run tells. Chance is drawn in another order where a fault is missing, so what is left
need not be the only way to fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tests.simulation.schedules import Schedule, ScheduleFailed
from tests.simulation.storms import Storm

T = TypeVar("T")
P = TypeVar("P", Schedule, Storm)


def shrink(drawn: P, *, tell: Callable[[str], None] = lambda line: None) -> P:
    """Return a smaller schedule that fails in the same way; the same one where it does not fail.

    Args:
        drawn: what fails.
        tell: told of each step forward.
    """
    wrong = symptom(drawn)
    if not wrong:
        return drawn
    tell(f"it fails: {wrong}")

    def still_fails(**changes: Any) -> bool:
        return symptom(replace(drawn, **changes)) == wrong

    faults = least(drawn.faults, lambda some: still_fails(faults=tuple(some)), tell)
    drawn = replace(drawn, faults=tuple(faults))
    jobs = least(drawn.jobs, lambda some: bool(some) and still_fails(jobs=tuple(some)), tell)
    return replace(drawn, jobs=tuple(jobs))


def symptom(drawn: Schedule | Storm) -> str:
    """Return how it fails, without what differs from run to run: the words before the first figure; "" if it does not.

    A name of a job or a place stands for any other.
    """
    try:
        drawn.run()
    except ScheduleFailed as failed:
        words = failed.summary.splitlines()[0].split()
        plain = [word for word in words if not any(letter.isdigit() for letter in word)]
        return " ".join(plain[:6])
    return ""


def least(items: Sequence[T], fails: Callable[[Sequence[T]], bool], tell: Callable[[str], None]) -> list[T]:
    """Return a part of the items that still fails, none of which can be left out by itself."""
    kept, parts = list(items), 2
    while kept:
        size = max(1, len(kept) // parts)
        for start in range(0, len(kept), size):
            fewer = kept[:start] + kept[start + size :]
            if fails(fewer):
                kept, parts = fewer, max(2, parts - 1)
                tell(f"{len(kept)} are enough")
                break
        else:
            if size == 1:
                break
            parts = min(len(kept), 2 * parts)
    return kept
