"""A long task and those behind it, with real processes: who waits behind it can be run only by somebody else."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqtasks
from zmqtasks.options import TaskOptions

TASKS = 300
LONG = 150
WAIT_S = 120.0


@pytest.fixture(scope="module")
def client() -> Iterator[zmqtasks.Client]:
    with zmqtasks.Client(workers=2) as client:
        client.submit(pow, 2, 10).result(60)  # opens the last connection there is to open
        yield client


def meet(folder: str, index: int) -> int:
    """Take a millisecond, and leave a mark; the long one ends when all others have left theirs."""
    if index == LONG:
        deadline = time.monotonic() + WAIT_S
        while len(os.listdir(folder)) < TASKS - 1:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(os.listdir(folder))} of {TASKS - 1} others have ended")
            time.sleep(0.005)
        return index
    time.sleep(0.001)
    with open(os.path.join(folder, str(index)), "x"):  # "x": a second run of the same task fails
        return index


@pytest.mark.parametrize("options", [TaskOptions(), TaskOptions(retry=False)], ids=["retry", "once"])
def test_what_is_behind_a_long_task_is_run_by_who_is_idle(
    client: zmqtasks.Client, tmp_path: Path, options: TaskOptions
) -> None:
    calls = client.options(retry=options.retry)
    assert list(calls.map(meet, [str(tmp_path)] * TASKS, range(TASKS))) == list(range(TASKS))
