"""How fast a mesh is: five questions, asked through any client.

Owns the questions and their arithmetic. Starts nothing, shows nothing: who calls it brings the client and is told of
each step. Called by `zmqtasks bench`; `bench/` of the repository asks the same questions of others as well.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from zmqtasks.observe.chores import burn, nothing, same

if TYPE_CHECKING:
    from zmqtasks.client import Client

MOST_GROWTH = 10
IN_FLIGHT_BYTES = 256 * 2**20
SHORT_S, LONG_S, EVEN_S = 0.001, 0.5, 0.005
Figures = dict[str, float]
"""Values by "what, unit"; the seconds it took are "seconds"."""
SECONDS = "seconds"


class Part(NamedTuple):
    """One thing that is measured.

    Args:
        name: of the row in the table; empty where a case has one part only.
        run: does so much work through a client with so many workers, checks it, and returns figures.
        sizes: the least and the most work; where they differ, so much is done as takes the time given.
    """

    name: str
    run: Callable[[Client, int, int], Figures]
    sizes: tuple[int, int]


class Case(NamedTuple):
    """A question: its number and name, what it is in words, and its parts."""

    number: str
    name: str
    question: str
    parts: tuple[Part, ...]


class Measured(NamedTuple):
    """A line of the answer.

    Args:
        case: number and name of the case.
        what: the part and the figure.
        unit: of the values.
        median, least, most: of the repeats.
        size: how many tasks a repeat had.
        repeats: how many there were.
    """

    case: str
    what: str
    unit: str
    median: float
    least: float
    most: float
    size: int
    repeats: int


def _submit(client: Client, workers: int, size: int) -> Figures:
    started = time.perf_counter()
    total = sum(future.result() for future in [client.submit(nothing, number) for number in range(size)])
    return _rate(size, total, time.perf_counter() - started)


def _map(client: Client, workers: int, size: int) -> Figures:
    started = time.perf_counter()
    total = sum(client.map(nothing, range(size)))
    return _rate(size, total, time.perf_counter() - started)


def _rate(size: int, total: int, seconds: float) -> Figures:
    assert total == size * (size - 1) // 2
    return {SECONDS: seconds, "calls, /s": size / seconds}


def _round_trip(client: Client, workers: int, size: int) -> Figures:
    took_us, clock = [], time.perf_counter
    for number in range(size):
        started = clock()
        client.submit(nothing, number).result()
        took_us.append(1e6 * (clock() - started))
    ordered = sorted(took_us)
    return {SECONDS: sum(took_us) / 1e6, "p50, us": ordered[size // 2], "p99, us": ordered[int(size * 0.99)]}


def _payload(nbytes: int) -> Callable[[Client, int, int], Figures]:
    def run(client: Client, workers: int, size: int) -> Figures:
        sent = [bytes([number % 251]) * nbytes for number in range(size)]
        started = time.perf_counter()
        results = [future.result() for future in [client.submit(same, each) for each in sent]]
        seconds = time.perf_counter() - started
        assert results == sent
        return {SECONDS: seconds, "there and back, MB/s": size * nbytes / seconds / 1e6}

    return run


def _share(order: Callable[[int], Sequence[float]]) -> Callable[[Client, int, int], Figures]:
    def run(client: Client, workers: int, size: int) -> Figures:
        durations = order(workers)
        started = time.perf_counter()
        results = list(client.map(burn, durations))
        seconds = time.perf_counter() - started
        assert results == list(durations)
        return {SECONDS: seconds, "of the ideal, %": 100 * ideal_s(durations, workers) / seconds}

    return run


def ideal_s(durations: Sequence[float], workers: int) -> float:
    """Return when the last worker would end if each took the next task at once, at no cost."""
    free = [0.0] * workers
    for each in durations:
        first = min(range(workers), key=lambda worker: free[worker])
        free[first] += each
    return max(free)


def _even(workers: int) -> Sequence[float]:
    return [EVEN_S] * (100 * workers)


def _mixed(workers: int) -> Sequence[float]:
    mix = [SHORT_S] * (100 * workers) + [LONG_S] * workers
    return random.Random(1).sample(mix, len(mix))


def _sizes(nbytes: int) -> tuple[int, int]:
    return (2, min(4096, IN_FLIGHT_BYTES // nbytes))


CASES = (
    Case("W1", "submit", "calls handed over one by one that do nothing", (Part("", _submit, (100, 100_000)),)),
    Case("W2", "mapping", "many calls at once that do nothing", (Part("", _map, (1000, 2_000_000)),)),
    Case("W3", "round_trip", "from a call to its result, one after the other", (Part("", _round_trip, (20, 5000)),)),
    Case(
        "W4",
        "payloads",
        "bytes that come back as they went",
        tuple(
            Part(name, _payload(nbytes), _sizes(nbytes))
            for name, nbytes in (("64 KiB", 2**16), ("1 MiB", 2**20), ("64 MiB", 2**26))
        ),
    ),
    Case(
        "W5",
        "balance",
        "tasks that compute: 5 ms each, and a mix of 1 ms and 500 ms",
        (Part("5 ms", _share(_even), (1, 1)), Part("mix", _share(_mixed), (1, 1))),
    ),
)


def asked(words: Sequence[str]) -> tuple[Case, ...]:
    """Return the cases that are meant by numbers or names; all where none is given.

    Raises:
        ValueError: there is no such case.
    """
    known = {word.lower() for case in CASES for word in (case.number, case.name)}
    if unknown := [word for word in words if word.lower() not in known]:
        raise ValueError(f"no case {unknown[0]!r}; there are {', '.join(f'{c.number} {c.name}' for c in CASES)}")
    meant = {word.lower() for word in words}
    return tuple(case for case in CASES if not meant or {case.number.lower(), case.name} & meant)


def measure(
    client: Client,
    workers: int,
    case: Case,
    repeats: int,
    budget_s: float,
    step: Callable[[float], None] = lambda done: None,
) -> Iterator[Measured]:
    """Answer a question.

    Args:
        client: of the mesh that is measured.
        workers: how many it has.
        case: the question.
        repeats: how often each part is measured, after it was warmed up.
        budget_s: how long one repeat takes, where the size of the work is free.
        step: is told how much of the case is done, 0 to 1.
    """
    steps = len(case.parts) * (repeats + 1)
    done = 0
    for part in case.parts:
        size = _warm(client, workers, part, budget_s)
        step((done := done + 1) / steps)
        values: dict[str, list[float]] = {}
        for _ in range(repeats):
            for label, value in part.run(client, workers, size).items():
                values.setdefault(label, []).append(value)
            step((done := done + 1) / steps)
        del values[SECONDS]
        for label, found in values.items():
            figure, unit = label.split(", ")
            what = ", ".join(filter(None, (part.name, figure)))
            figures = (statistics.median(found), min(found), max(found))
            yield Measured(f"{case.number} {case.name}", what, unit, *figures, size, repeats)


def _warm(client: Client, workers: int, part: Part, budget_s: float) -> int:
    """Warm the workers up, and return the size that takes about the time given."""
    least, most = part.sizes
    size = least
    while True:
        seconds = part.run(client, workers, size)[SECONDS]
        growth = min(MOST_GROWTH, budget_s / max(seconds, 1e-9))
        size = max(least, min(most, int(size * growth)))
        if growth < 2 or size == most:
            return size
