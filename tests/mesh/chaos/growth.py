"""Whether what a process holds grows: with the number of tasks, over one long life or from life to life.

Owns samples and their judgement. A slope is the median of the slopes between pairs of samples (Theil and Sen, 1968),
which bursts of results that wait do not bend. Looks at no process itself. Used by `storm.py`.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import NamedTuple

from tests.mesh.chaos.usage import Usage
from zmqtasks.records import Value

MIB = 1024 * 1024
MILLION = 1_000_000
WARM = 0.2
"""Part of the tasks that may be over before growth counts: caches fill, buffers find their size."""
MOST_POINTS = 300
YOUNG_S = 5.0
"""A life that ended earlier says nothing."""


class Sample(NamedTuple):
    """One look."""

    at_s: float
    life: int
    tasks: int
    usage: Usage


class Trend(Value):
    """What became of one role.

    Args:
        lives: how many it had.
        peak_mib: the most it held, MiB.
        mib_per_million_tasks: growth; None where there are too few samples to tell.
        descriptors: how many more it has late than early.
        threads: the same of threads.
        tasks_seen: tasks over which growth was looked at.
    """

    lives: int
    peak_mib: float
    mib_per_million_tasks: float | None
    descriptors: int
    threads: int
    tasks_seen: int


class Growth:
    """Samples of one role."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Note a look."""
        self._samples.append(sample)

    def lines(self, name: str) -> str:
        """Return the samples for a file of evidence, a line each."""
        return "".join(f"{name} {s.at_s:.1f} {s.life} {s.tasks} {' '.join(map(str, s.usage))}\n" for s in self._samples)

    def trend(self) -> Trend:
        """Return what can be told of all that was seen."""
        lives = self._lives()
        points = self._long_life(lives) or self._ends_of_lives(lives)
        slope = theil_sen(points)
        return Trend(
            lives=len(lives),
            peak_mib=round(max((s.usage.memory_bytes for s in self._samples), default=0) / MIB, 1),
            mib_per_million_tasks=None if slope is None else round(slope * MILLION / MIB, 3),
            descriptors=self._more([s.usage.descriptors for s in self._samples]),
            threads=self._more([s.usage.threads for s in self._samples]),
            tasks_seen=points[-1][0] - points[0][0] if points else 0,
        )

    def _lives(self) -> list[list[Sample]]:
        lives: dict[int, list[Sample]] = defaultdict(list)
        for sample in self._samples:
            lives[sample.life].append(sample)
        return list(lives.values())

    @staticmethod
    def _long_life(lives: list[list[Sample]]) -> list[tuple[int, int]]:
        """Return tasks and memory of a role that was never killed."""
        if len(lives) != 1:
            return []
        (life,) = lives
        most = life[-1].tasks
        warm = [(s.tasks, s.usage.memory_bytes) for s in life if s.tasks >= WARM * most]
        return warm[:: len(warm) // MOST_POINTS + 1]

    @staticmethod
    def _ends_of_lives(lives: list[list[Sample]]) -> list[tuple[int, int]]:
        """Return when each life ended and the median of what it held: what is left for the next would show here."""
        old = [life for life in lives if life[-1].at_s - life[0].at_s >= YOUNG_S]
        return [(life[-1].tasks, int(median(s.usage.memory_bytes for s in life[len(life) // 2 :]))) for life in old]

    @staticmethod
    def _more(values: list[int]) -> int:
        """Return by how much the last third lies above the first third after warming up."""
        values = values[int(WARM * len(values)) :]
        third = len(values) // 3
        return round(median(values[-third:]) - median(values[:third])) if third else 0


def theil_sen(points: list[tuple[int, int]]) -> float | None:
    """Return the median slope; None for fewer than ten points or where x does not grow."""
    if len(points) < 10:
        return None
    slopes = [(y - b) / (x - a) for n, (a, b) in enumerate(points) for x, y in points[n + 1 :] if x > a]
    return median(slopes) if slopes else None
