"""Task classes of tests; importable in workers by name."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import zmqtasks

ACTIONS = {
    "raise": lambda: [][1],
    "exit": lambda: sys.exit(3),
    "retry": lambda: zmqtasks.retry(),
    "requeue": lambda: zmqtasks.requeue(),
    "respawn": lambda: zmqtasks.respawn(),
    "stop": lambda: zmqtasks.stop_node(),
    "hang": lambda: time.sleep(60),
    "nothing": lambda: None,
}


class Recorder(zmqtasks.Worker[int]):
    """Writes down what is called; each call of a method does what the plan has for it next, then nothing more.

    The arguments of a task are a file and a plan: {method: [action, ...]}.
    """

    def called(self, name: str, task: zmqtasks.Task, *told: object) -> None:
        ledger, plan = task.args
        with open(ledger, "a") as file:
            file.write(" ".join([name, *map(str, told)]) + "\n")
        calls = sum(line.split()[0] == name for line in Path(ledger).read_text().splitlines())
        for action in plan.get(name, [])[calls - 1 : calls]:
            ACTIONS[action]()

    def initialize(self) -> None:
        self.tasks = 0

    def pre_task(self, task: zmqtasks.Task) -> None:
        self.called("pre", task)

    def run(self, task: zmqtasks.Task) -> int:
        self.tasks += 1
        self.called("run", task, task.run_count)
        return os.getpid()

    def post_task(self, task: zmqtasks.Task, success: bool, exception: BaseException | None) -> None:
        self.called("post", task, success, type(exception).__name__)

    def on_success(self, task: zmqtasks.Task, value: int) -> None:
        self.called("on_success", task, value == os.getpid())

    def on_failure(self, task: zmqtasks.Task, exception: BaseException) -> None:
        self.called("on_failure", task, type(exception).__name__)

    def on_timeout(self, task: zmqtasks.Task) -> None:
        self.called("on_timeout", task)

    def on_retry(self, task: zmqtasks.Task) -> None:
        self.called("on_retry", task)

    def on_max_retries(self, task: zmqtasks.Task) -> None:
        self.called("on_max_retries", task)

    def on_requeue(self, task: zmqtasks.Task) -> None:
        self.called("on_requeue", task)

    def on_stop(self, task: zmqtasks.Task) -> None:
        self.called("on_stop", task)


class Counter(zmqtasks.Worker[tuple[int, int]]):
    """Keeps a state from task to task."""

    def initialize(self) -> None:
        self.tasks = 0

    def run(self, task: zmqtasks.Task) -> tuple[int, int]:
        self.tasks += 1
        return os.getpid(), self.tasks


class Awaiting(zmqtasks.Worker[Any]):
    async def run(self, task: zmqtasks.Task) -> Any:
        import asyncio

        await asyncio.sleep(0)
        return task.kwargs


class Shout(zmqtasks.Worker[str]):
    """Plain data in, plain data out."""

    def run(self, task: zmqtasks.Task) -> str:
        return str(task.args[0]).upper()


class Broken(zmqtasks.Worker[int]):
    """Cannot be made the first time."""

    attempts = 0

    def initialize(self) -> None:
        type(self).attempts += 1
        if self.attempts == 1:
            raise OSError("the library is not there yet")

    def run(self, task: zmqtasks.Task) -> int:
        return self.attempts


class SizeConfig(zmqtasks.WorkerConfig, kw_only=True):
    width: int = 100


class Sized(zmqtasks.Worker[tuple[int, float | None]]):
    """Has a configuration with a field of its own."""

    config = SizeConfig(timeout="20 s", retries=2)

    def run(self, task: zmqtasks.Task) -> tuple[int, float | None]:
        assert isinstance(self.config, SizeConfig)
        return self.config.width, self.config.timeout


class Wide(Sized):
    config = Sized.config.replace(width=400, timeout="1 min")


class Found(zmqtasks.Worker[int]):
    """Finds its configuration in a file."""

    @classmethod
    def generate_config(cls) -> zmqtasks.WorkerConfig:
        return zmqtasks.WorkerConfig(retries=int(Path(os.environ["FOUND_CONFIG"]).read_text()))

    def run(self, task: zmqtasks.Task) -> int:
        with open(task.args[0], "a") as file:
            file.write(f"{self.config.retries}\n")
        raise ValueError("never good enough")


class Starving(zmqtasks.Worker[int]):
    config = zmqtasks.WorkerConfig(starvation=0.05)

    def run(self, task: zmqtasks.Task) -> int:
        self.ledger, self.action = task.args
        return os.getpid()

    def on_starvation(self, seconds: float) -> None:
        with open(self.ledger, "a") as file:
            file.write(f"{seconds}\n")
        ACTIONS[self.action]()


class Finalized(zmqtasks.Worker[int]):
    def run(self, task: zmqtasks.Task) -> int:
        self.ledger, self.action = task.args
        return os.getpid()

    def finalize(self) -> None:
        with open(self.ledger, "a") as file:
            file.write(f"{os.getpid()}\n")
        ACTIONS[self.action]()


class Quiet(Recorder):
    config = zmqtasks.WorkerConfig(log_events=zmqtasks.LogEvents(success=True, failure=False))


class Slow(zmqtasks.Worker[str]):
    """Takes longer than its timeout, but none of its parts does."""

    config = zmqtasks.WorkerConfig(timeout=0.5, grace=None)

    def pre_task(self, task: zmqtasks.Task) -> None:
        time.sleep(0.3)

    def run(self, task: zmqtasks.Task) -> str:
        time.sleep(0.3)
        return "in time"

    def post_task(self, task: zmqtasks.Task, success: bool, exception: BaseException | None) -> None:
        time.sleep(0.3)


class Lacking(zmqtasks.Worker[None]):
    """Has no `run`."""
