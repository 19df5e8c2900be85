"""Tasks that share something."""

from __future__ import annotations

import os
import time
from pathlib import Path

import zmqtasks


def pid(_: object) -> int:
    time.sleep(0.01)
    return os.getpid()


def add_one(name: str, rounds: int = 1) -> None:
    """Read, then write what all tasks of a test share: two at once would lose one."""
    client = zmqtasks.current_client()
    for _ in range(rounds):
        with client.lock(name):
            client.set_key(name, client.get_key(name, 0) + 1)


def hold(name: str, folder: str, ttl: float | None = None) -> str:
    """Take a lock and keep it until there is a file "release"; in a second run, tell so."""
    begun = Path(folder, "begun")
    if begun.exists():
        return "again"
    lock = zmqtasks.current_client().lock(name, ttl)
    assert lock.acquire(10)
    begun.write_text(str(os.getpid()))
    while not Path(folder, "release").exists():
        time.sleep(0.005)
    return f"released {lock.release()}"


def take(name: str, timeout: float | None) -> bool:
    lock = zmqtasks.current_client().lock(name)
    return lock.acquire(timeout) and lock.release()


def leave_behind(name: str) -> bool:
    """Take a lock, and forget it."""
    return zmqtasks.current_client().lock(name, None).acquire(0)


def outlive(name: str) -> list[object]:
    """Keep a lock for longer than its time, while another object takes it."""
    client = zmqtasks.current_client()
    first, second = client.lock(name, 0.05), client.lock(name, "1 min")
    told: list[object] = [first.acquire(), second.acquire(), first.release(), first.get_ttl(), first.set_ttl(9)]
    left = second.get_ttl()
    assert left is not None
    return [*told, 50 < left <= 60, second.set_ttl(None), second.get_ttl(), second.release(), second.is_locked()]


def enter(name: str, places: int) -> int:
    """Be within a semaphore for a moment; return how many were."""
    semaphore = zmqtasks.current_client().semaphore(name, places)
    with semaphore:
        time.sleep(0.002)
        return semaphore.taken()


def turn(name: str) -> float:
    with zmqtasks.current_client().rate_limit(name, 5, per=0.1):
        return time.monotonic()


def fork_and_ask() -> str:
    """Return what a process says that was forked by a task."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            zmqtasks.current_client()
        except RuntimeError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as words:
        return words.read()


def interrupted(name: str, folder: str) -> str:
    """Wait for a lock for longer than this task may run."""
    try:
        zmqtasks.current_client().lock(name).acquire()
    except zmqtasks.TaskInterrupted:
        Path(folder, "interrupted").touch()
        raise
    return "acquired"
