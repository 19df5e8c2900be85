"""Figures of tasks and workers that can be added up: over time, workers, nodes and programs.

Owns the arithmetic, and the form in which figures are kept and sent. Knows no clock and no task. A node fills one for
`zmqtasks status`, `observe/meter.py` one for a program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

from zmqtasks.records import Value, as_dict, field_names


class Moments(Value):
    """Count, mean, variance and skewness of values that nobody keeps; two of them add up.

    Args:
        count: how many values there were.
        mean: of them.
        m2: sum of the squares of their distances from the mean.
        m3: sum of the cubes.

    Source: Chan, Golub, LeVeque 1979 for the variance; Pébay 2008 (SAND2008-6212), (2.1), for the third moment.
    """

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0

    @classmethod
    def of(cls, value: float, count: int = 1) -> Self:
        """Return those of a value, or of so many that are equal to it."""
        return cls(count, float(value))

    def __add__(self, other: Moments) -> Moments:
        if not self.count or not other.count:
            return self if self.count else other
        a, b, n = self.count, other.count, self.count + other.count
        delta = other.mean - self.mean
        step = delta * b / n
        m2 = self.m2 + other.m2 + delta * step * a
        m3 = self.m3 + other.m3 + delta * step * step * a * (a - b) / b
        m3 += 3 * delta * (a * other.m2 - b * self.m2) / n
        return Moments(n, self.mean + step, m2, m3)

    @property
    def variance(self) -> float:
        """Of the values themselves; 0 for none."""
        return max(0.0, self.m2) / self.count if self.count else 0.0

    @property
    def unbiased_variance(self) -> float:
        """Of what the values are a sample of; 0 for fewer than two."""
        return max(0.0, self.m2) / (self.count - 1) if self.count > 1 else 0.0

    @property
    def deviation(self) -> float:
        """The square root of the variance."""
        return math.sqrt(self.variance)

    @property
    def skewness(self) -> float:
        """Above 0 where the larger values are farther from the mean; 0 where all are equal."""
        spread = max(0.0, self.m2) ** 1.5
        return math.sqrt(self.count) * self.m3 / spread if spread > 0 else 0.0


class Metrics(Value):
    """What became of tasks, and what it took; two of them add up.

    Args:
        done: tasks that succeeded.
        failed: by an exception of their own, or because they could not travel.
        timed_out: that ran longer than their limit.
        crashed: whose worker died, or node after node.
        out_of_memory: that took more than their limit.
        lost: at most once, and nobody can tell whether they ran.
        cancelled: that nobody wanted any more; known to a client only.
        retried: runs after which a task was run again; known to a client only.
        starts: workers that were started, the first ones included; known to a node only.
        exits: workers that ended, whatever for; known to a node only.
        task_s: seconds in the function of those that succeeded; short ones that travelled together count as equal.
        memory_bytes: the most that a worker held, of those that ended; known to a node only.
    """

    done: int = 0
    failed: int = 0
    timed_out: int = 0
    crashed: int = 0
    out_of_memory: int = 0
    lost: int = 0
    cancelled: int = 0
    retried: int = 0
    starts: int = 0
    exits: int = 0
    task_s: Moments = Moments()
    memory_bytes: Moments = Moments()

    def __add__(self, other: Metrics) -> Metrics:
        return Metrics(*(getattr(self, name) + getattr(other, name) for name in field_names(self)))

    @property
    def tasks(self) -> int:
        """How many tasks have ended."""
        return self.done + self.failed + self.timed_out + self.crashed + self.out_of_memory + self.lost + self.cancelled

    def to_json(self) -> dict[str, Any]:
        """Return what `json.dumps` takes, with figures for people that `from_json` does without."""
        shown: dict[str, Any] = {}
        for name in field_names(self):
            value = getattr(self, name)
            if isinstance(value, Moments):
                value = as_dict(value) | {"deviation": value.deviation, "skewness": value.skewness}
            shown[name] = value
        return shown

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Metrics:
        """Return what `to_json` showed; what is missing is 0, what is unknown is left out.

        Raises:
            ValueError: a figure is no number.
        """
        try:
            found: dict[str, Any] = {name: int(shown.get(name, 0)) for name in COUNTS}
            found |= {name: _moments(shown.get(name, {})) for name in MOMENTS}
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not the figures of a Metrics: {error}") from error
        return cls(**found)


MOMENTS = ("task_s", "memory_bytes")
COUNTS = tuple(name for name in field_names(Metrics) if name not in MOMENTS)


def _moments(shown: Mapping[str, Any]) -> Moments:
    rest = {name: float(shown.get(name, 0.0)) for name in ("mean", "m2", "m3")}
    return Moments(int(shown.get("count", 0)), **rest)
