"""The first steps of sidita, as a program of this mesh."""

from __future__ import annotations

import asyncio

import zmqtasks
from examples import sidita_first_steps


def test_first_steps_of_sidita() -> None:
    results, audit, metrics = asyncio.run(sidita_first_steps.main([*range(5), -1, 13]))
    assert results[:5] == [0, 1, 4, 9, 16]
    assert isinstance(results[5], ValueError)
    assert isinstance(results[6], zmqtasks.TaskTimeout)
    ends = [
        "0 ready: 0",
        "1 ready: 1",
        "2 ready: 4",
        "3 ready: 9",
        "4 ready: 16",
        "5 failed: -1 is below 0",
        "6 timed out",
    ]
    assert sorted(line for line in audit.lines if "submitted" not in line) == ends
    assert [line for line in audit.lines if "submitted" in line] == [f"{task} submitted" for task in range(7)]
    assert (metrics.done, metrics.failed, metrics.timed_out) == (5, 1, 1)
