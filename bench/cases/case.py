"""What a case is to the bench: a question, how it is measured with one peer, and what is asked of the answer.

Owns the words. A case is imported in the environment of each peer: it imports nothing but the standard library and
`bench`, except inside the functions that run with zmqtasks alone.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench.peers.peer import Answer, Demand, Runner

FUTURES = "concurrent.futures"
POOL = "multiprocessing.Pool"
MESH = "zmqtasks"
BEST = "zmqtasks, best chunksize"
PIPE = "bare pipe"
ZMQ = "bare pyzmq"
LOCAL = (
    MESH, FUTURES, POOL, "pebble", "loky", "mpire", "joblib", "executorlib", "ipyparallel", "parsl", "dask", "ray",
    "celery", "sergeant", "hyperqueue", PIPE, ZMQ,
)  # fmt: skip
Figures = dict[str, float]


class Found(Protocol):
    """What was measured in one run, as a reach looks it up."""

    def __call__(self, peer: str, figure: str, variant: str = "") -> list[float]:
        """Return a figure a repeat; raise KeyError where it was not measured."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What is asked for.

    Args:
        text: for people.
        value: what is compared, a figure a repeat.
        least, most: the median has to be within.
        unit: of the value; "x" for ratios.
    """

    text: str
    value: Callable[[Found], list[float]]
    least: float = -math.inf
    most: float = math.inf
    unit: str = "x"

    def reached(self, median: float) -> bool:
        """Return whether a median is what is asked for."""
        return self.least <= median <= self.most


@dataclass(frozen=True, slots=True)
class Case:
    """A question.

    Args:
        number: of the row in docs/design/performance.md.
        name: of the case, and of its file.
        question: one line, for the table.
        measure: runs the work once, checks the answers, and returns figures; gets the peer, the variant, the size and
            a chunk size for peers that want one. The figure "seconds" is there always.
        figure: the one that is compared.
        less_is_better: of that figure.
        peers: who is asked.
        variants: of the question.
        sizes: the least and the most, or those of each variant; between them each peer gets what takes it about the
            same time.
        chunks: chunk sizes to be tried with peers that want one; the best is used.
        demand: what workers are wanted; None where `measure` opens what it needs by itself.
        reaches: what is asked for.
        repeats: so many at most, where more would tell nothing.
        quick: the variants that a quick run asks for; none where even one takes long.
    """

    number: str
    name: str
    question: str
    measure: Callable[[Any, str, int, int | None], Figures]
    figure: str
    less_is_better: bool = False
    peers: tuple[str, ...] = (MESH,)
    variants: tuple[str, ...] = ("",)
    sizes: tuple[int, int] | dict[str, tuple[int, int]] = (1, 1)
    chunks: tuple[int, ...] = ()
    demand: Demand | None = Demand()
    reaches: tuple[Reach, ...] = ()
    repeats: int = 1000
    quick: tuple[str, ...] = ("",)

    def size_of(self, variant: str) -> tuple[int, int]:
        """Return the least and the most of a variant."""
        return self.sizes[variant] if isinstance(self.sizes, dict) else self.sizes


def rate(size: int, run: Callable[[], Iterable[int]]) -> Figures:
    """Run tasks that send their number back, check the results, and return how many a second."""
    started = time.perf_counter()
    total = sum(run())
    seconds = time.perf_counter() - started
    assert total == size * (size - 1) // 2, (total, size)
    return {"seconds": seconds, "tasks_a_second": size / seconds}


def times(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours by theirs, repeat by repeat: these stood next to each other."""
    return [a / b for a, b in zip(ours, theirs, strict=False)]


def timed(runner: Runner, run: Callable[[], list[Answer]]) -> tuple[list[Answer], Figures]:
    """Run work and return the answers and the seconds it took."""
    started = time.perf_counter()
    answers = run()
    return answers, {"seconds": time.perf_counter() - started, **runner.observed()}


def centile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def check_failures(answers: list[Answer], bad: set[int], failure: str, names: tuple[str, ...]) -> None:
    """Check that the bad tasks failed in this way, told with one of these names, and that the others are right."""
    for index, answer in enumerate(answers):
        if index in bad:
            assert answer.failure == failure, (index, answer)
            assert any(name in answer.told for name in names), (index, answer)
        else:
            assert (answer.failure, answer.value) == ("", index), (index, answer)
