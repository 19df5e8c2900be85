"""Memory stays flat: a bounded number of calls is in flight, both ways."""

from __future__ import annotations

import os
from collections.abc import Iterator

import zmqtasks
from tests.mesh import functions
from zmqtasks.processes.usage import rss_bytes


def test_a_slow_consumer_of_map_keeps_memory_flat() -> None:
    """200,000 results of 2 KiB (400 MB) pass a consumer that is far slower than the mesh."""
    pulled = 0

    def arguments() -> Iterator[int]:
        nonlocal pulled
        while pulled < 200_000:
            pulled += 1
            yield 2048

    with zmqtasks.Client(workers=2) as client:
        client.submit(bytes, 1).result(20)
        started = rss_bytes(os.getpid())
        most = ahead = taken = 0
        for result in client.map(bytes, arguments()):
            taken += 1
            assert len(result) == 2048
            if taken % 500 == 0:
                # A pause that the workers could use to run far ahead.
                client.submit(functions.double, 1).result(20)
                most = max(most, rss_bytes(os.getpid()))
                ahead = max(ahead, pulled - taken)
    assert taken == 200_000
    assert most - started < 100 * 2**20
    assert ahead < 60_000


def test_a_consumer_that_stops_stops_the_producer() -> None:
    pulled = 0

    def arguments() -> Iterator[int]:
        nonlocal pulled
        while pulled < 1_000_000:
            pulled += 1
            yield pulled

    with zmqtasks.Client(workers=2) as client:
        results = client.map(functions.double, arguments())
        assert [next(results) for _ in range(100)] == list(range(2, 202, 2))
        # Everything that was pulled ends; nothing more is pulled while nobody takes.
        for _ in range(50):
            client.submit(functions.double, 1).result(20)
        assert pulled < 50_000
        results.close()  # type: ignore[attr-defined]


def test_a_million_calls_keep_memory_flat() -> None:
    with zmqtasks.Client(workers=2) as client:
        assert sum(client.map(abs, range(100_000))) == sum(range(100_000))
        before = rss_bytes(os.getpid())
        assert sum(client.map(abs, iter(range(1_000_000)))) == sum(range(1_000_000))
        assert rss_bytes(os.getpid()) - before < 64 * 2**20


def test_large_arguments_are_pulled_a_few_at_a_time() -> None:
    """400 arguments of 2 MiB (800 MB) are never in the client together."""
    pulled = 0

    def arguments() -> Iterator[bytes]:
        nonlocal pulled
        while pulled < 400:
            pulled += 1
            yield bytes(2 * 2**20)

    with zmqtasks.Client(workers=2) as client:
        client.submit(functions.double, 1).result(20)
        started = rss_bytes(os.getpid())
        most = ahead = taken = 0
        for size in client.map(len, arguments()):
            taken += 1
            assert size == 2 * 2**20
            most = max(most, rss_bytes(os.getpid()))
            ahead = max(ahead, pulled - taken)
    assert taken == 400
    assert ahead <= 40
    assert most - started < 250 * 2**20
