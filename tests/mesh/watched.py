"""Functions that tests of hooks submit."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import zmqtasks


def double(value: int) -> int:
    return 2 * value


def fail(text: str) -> None:
    raise ValueError(text)


def fail_once(path: str) -> str:
    if not os.path.exists(path):
        Path(path).touch()
        raise ValueError("the first time")
    return "again"


def ask_once(path: str) -> str:
    if not os.path.exists(path):
        Path(path).touch()
        zmqtasks.retry()
    return "again"


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def die() -> None:
    os._exit(7)


def eat() -> None:
    held = []
    while True:
        held.append(bytearray(b"x" * 2**20))


def stop(seconds: float) -> None:
    time.sleep(seconds)
    zmqtasks.stop_node()


def log(text: str) -> None:
    logging.getLogger("tests.watched").warning(text)


def fail_to_log(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("tests.watched").exception("it failed")


def send_logs(port: int, buffered: bool) -> None:
    logging.getLogger().addHandler(zmqtasks.logstash_handler("127.0.0.1", port, buffered=buffered, timeout=5.0))
