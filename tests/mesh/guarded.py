"""Functions for a node in safe mode: some are registered, and some are not."""

from __future__ import annotations

import os
import os.path as paths
from pathlib import Path

import zmqtasks


@zmqtasks.task
def double(number: int) -> int:
    return 2 * number


@zmqtasks.task
def is_odd(error: BaseException) -> bool:
    return "odd" in str(error)


def touch(path: str) -> None:
    Path(path).touch()


class Doubler(zmqtasks.Worker[int]):
    config = zmqtasks.WorkerConfig(serializer="msgpack")

    def run(self, task: zmqtasks.Task) -> int:
        return 2 * int(task.args[0])


class Tools:
    @staticmethod
    def touch(path: str) -> None:
        Path(path).touch()


__all__ = ["Tools", "double", "os", "paths", "touch"]
