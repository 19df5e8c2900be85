"""Functions that run beside others in one worker."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import zmqtasks

_barrier = threading.Barrier(4)


def meet(value: int) -> tuple[int, int, int]:
    """Return only where four run at once in this process."""
    _barrier.wait(20)
    return value, os.getpid(), threading.get_ident()


async def meet_awaiting(value: int, path: str) -> tuple[int, int]:
    place = Path(path)
    (place / str(value)).touch()
    while len(os.listdir(place)) < 4:
        await asyncio.sleep(0.005)
    return value, os.getpid()


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


async def asleep(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()


async def wait_for_ever(path: str) -> None:
    try:
        await asyncio.sleep(10**6)
    finally:
        Path(path).touch()


def note_and_sleep(path: str, number: int, seconds: float) -> int:
    with open(path, "a") as file:
        file.write(f"{number}\n")
    time.sleep(seconds)
    return number


def die_when(path: str, count: int) -> None:
    """Die when so many others have begun, or run alone."""
    deadline = time.monotonic() + 5
    while not os.path.exists(path) or len(Path(path).read_text().split()) < count:
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)


def which() -> str:
    time.sleep(0.01)
    task = zmqtasks.current_task()
    assert task
    return task.id


async def leave() -> None:
    raise SystemExit(3)


def stand_still() -> None:
    while True:
        time.sleep(0.01)


class Meeting(zmqtasks.Worker[tuple[int, int]]):
    """Returns only where four tasks run at once, and tells who ran them."""

    def initialize(self) -> None:
        time.sleep(0.1)  # the others want it meanwhile
        self.barrier = threading.Barrier(4)

    def run(self, task: zmqtasks.Task) -> tuple[int, int]:
        self.barrier.wait(20)
        return id(self), threading.get_ident()


class Patient(zmqtasks.Worker[tuple[int, str]]):
    """The same for coroutines; one that is asked to waits for ever."""

    config = zmqtasks.WorkerConfig(timeout=20.0, starvation=0.3, log_events=zmqtasks.LogEvents(timeout=False))

    def initialize(self) -> None:
        self.running = 0
        self.starved: list[float] = []

    async def run(self, task: zmqtasks.Task) -> tuple[int, str]:
        self.ledger = Path(task.args[0])
        self.running += 1
        while self.running < 4:
            await asyncio.sleep(0.005)
        current = zmqtasks.current_task()
        return id(self), "" if current is None else current.id

    def post_task(self, task: zmqtasks.Task, success: bool, exception: BaseException | None) -> None:
        if type(exception).__name__ == "TaskInterrupted":
            self.running -= 1

    def on_timeout(self, task: zmqtasks.Task) -> None:
        self.ledger.write_text("on_timeout")

    def on_starvation(self, seconds: float) -> None:
        if self.ledger.name == "starved":
            self.ledger.write_text(str(seconds))


class Hungry(zmqtasks.Worker[bool]):
    """Hears that there is no task, in a worker with threads; returns whether it heard that while it ran."""

    config = zmqtasks.WorkerConfig(starvation=0.3)

    def run(self, task: zmqtasks.Task) -> bool:
        self.ledger = Path(task.args[0])
        time.sleep(0.8)
        return self.ledger.exists()

    def on_starvation(self, seconds: float) -> None:
        self.ledger.write_text(str(seconds))


def respawn_once(path: str) -> int:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    if len(Path(path).read_text().split()) == 1:
        zmqtasks.respawn()
    return os.getpid()


def refuse() -> None:
    raise ValueError("not here")


async def note_and_await(path: str, seconds: float) -> int:
    Path(path).touch()
    await asyncio.sleep(seconds)
    return os.getpid()


def clean_up(path: str) -> None:
    try:
        stand_still()
    finally:
        Path(path).touch()


def answer_in_time() -> str:
    try:
        stand_still()
    except zmqtasks.TaskInterrupted:
        return "in time"
    return "never"


def nap(path: str, seconds: float) -> int:
    """Write down that it has begun, and how long it took, whatever ended it."""
    begun = time.monotonic()
    Path(path).touch()
    try:
        while time.monotonic() < begun + seconds:
            time.sleep(0.001)
        return os.getpid()
    finally:
        took = time.monotonic() - begun
        Path(path).write_text(str(took))


class Busy(zmqtasks.Worker[None]):
    """Computes for ever, and hears that its time is up."""

    config = zmqtasks.WorkerConfig(timeout=0.3, log_events=zmqtasks.LogEvents(timeout=False))

    def run(self, task: zmqtasks.Task) -> None:
        while True:
            pass

    def on_timeout(self, task: zmqtasks.Task) -> None:
        Path(task.args[0]).write_text(task.id)
