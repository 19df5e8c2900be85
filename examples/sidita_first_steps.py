"""The first steps of sidita on this mesh: a producer, a worker that keeps a state, and results in hooks.

    python -m examples.sidita_first_steps

`Squares` is what was a `Worker` with `on_task`; `Audit` has the hooks that were methods of a `TaskQueue`; `produce` was
its `task_producer`. There is no stop to be sent: leaving the `with` block waits for what was submitted.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import zmqtasks


class Squares(zmqtasks.Worker[int]):
    """Lives as long as its process, and is made anew where that is replaced."""

    def initialize(self) -> None:
        self.tasks_here = 0

    def run(self, task: zmqtasks.Task) -> int:
        self.tasks_here += 1
        (number,) = task.args
        if number < 0:
            raise ValueError(f"{number} is below 0")
        if number == 13:
            time.sleep(60)
        return number * number


class Audit(zmqtasks.Hooks):
    """Writes down what becomes of each task."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_submitted(self, task: zmqtasks.TaskInfo) -> None:
        self.lines.append(f"{task.index} submitted")

    def on_result(self, task: zmqtasks.TaskInfo) -> None:
        self.lines.append(f"{task.index} ready: {task.result}")

    def on_failed(self, task: zmqtasks.TaskInfo) -> None:
        self.lines.append(f"{task.index} failed: {task.error}")

    def on_timed_out(self, task: zmqtasks.TaskInfo) -> None:
        self.lines.append(f"{task.index} timed out")


async def produce(client: zmqtasks.AsyncClient, numbers: list[int]) -> list[Any]:
    """Submit a task for each number; what comes of it is awaited here, and heard by the hooks as well."""
    quick = client.options(timeout="0.5 s")
    return await asyncio.gather(*(quick.submit(Squares, number) for number in numbers), return_exceptions=True)


async def main(numbers: list[int]) -> tuple[list[Any], Audit, zmqtasks.Metrics]:
    """Run the tasks; return results, audit and figures."""
    audit, meter = Audit(), zmqtasks.Meter()
    async with zmqtasks.AsyncClient(workers=2, hooks=[audit, meter]) as client:
        results = await produce(client, numbers)
    return results, audit, meter.metrics


if __name__ == "__main__":
    results, audit, metrics = asyncio.run(main([*range(10), -1, 13]))
    print("\n".join(audit.lines))
    print(f"{metrics.done} ready, {metrics.failed} failed, {metrics.timed_out} timed out")
    print(f"a task took {metrics.task_s.mean * 1e6:.0f} us, deviation {metrics.task_s.deviation * 1e6:.0f} us")
