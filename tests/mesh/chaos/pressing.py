"""Programs with a client that press on the mesh, or are slow to take what it gives; each runs until it is killed.

    python -m tests.mesh.chaos.pressing slow-consumer | endless-arguments | queueing | sharing [ADDRESS]

Each prints how many results it has taken, or calls it has made, each half second.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import zmqtasks
from tests.mesh.chaos import tasks

MB = 1_000_000
TELL_S = 0.5
LENT_BYTES, COPIED_BYTES = MB, 100_000
"""Above and below 128 KiB, from which on peers of one host lend instead of copying."""


def slow_consumer(*addresses: str) -> None:
    """Take one result of 1 MB a second, of tasks that take next to no time."""
    with zmqtasks.Client(*addresses, workers=None if addresses else 2) as client:
        for taken, _ in enumerate(client.map(tasks.filled, _sizes(MB))):
            print(taken, flush=True)
            time.sleep(1.0)


def endless_arguments(*addresses: str) -> None:
    """Take all results at once, of arguments of 1 MB that never end."""
    with zmqtasks.Client(*addresses, workers=None if addresses else 2) as client:
        _take(client.map(tasks.long_len, (bytes(LENT_BYTES) for _ in _sizes(0))))


def sharing(*addresses: str) -> None:
    """The same with arguments that travel in their messages, to a node that others use as well."""
    with zmqtasks.Client(*addresses) as client:
        _take(client.map(tasks.long_len, (bytes(COPIED_BYTES) for _ in _sizes(0))))


def queueing(*addresses: str) -> None:
    """Submit a million calls of 10 KB, which nobody runs for now."""
    with zmqtasks.Client(*addresses, workers=None if addresses else 1) as client:
        calls = []
        for number in range(MB):
            calls.append(client.submit(tasks.hour_long_len, b"%010d" % number * 1_000))
            if number % 5_000 == 0:
                print(number, flush=True)
        time.sleep(3600)


def _sizes(size: int) -> Iterator[int]:
    while True:
        yield size


def _take(results: Iterator[int]) -> None:
    told_at = 0.0
    for taken, _ in enumerate(results):
        if time.monotonic() - told_at > TELL_S:
            told_at = time.monotonic()
            print(taken, flush=True)


_KINDS = {
    "slow-consumer": slow_consumer,
    "endless-arguments": endless_arguments,
    "sharing": sharing,
    "queueing": queueing,
}

if __name__ == "__main__":
    _KINDS[sys.argv[1]](*sys.argv[2:])
