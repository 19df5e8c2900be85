"""A client under steady load, as a program for one host: it says when each result came, and whether all came once.

    python -m tests.hosts.load --bind tcp://10.214.0.2:0 NODE ...

It says "came" at its first result, and at the next one after each line of its standard input. It hands out tasks
until that ends, waits for those under way, and prints one JSON object. Times are of the monotonic clock, which all
processes of a machine share.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import zmqtasks
from tests.mesh.chaos import tasks

BIN_S = 0.1
TURNS_A_BIN = 10


def nap(number: int, seconds: float, size: int, load: bytes) -> tuple[int, bytes]:
    """Be a task that takes a while and no processor; return its number, and bytes that nobody can compress."""
    if tasks.LEDGER in os.environ:
        tasks.note(number)
    time.sleep(seconds)
    return number, os.urandom(size)


class Load:
    """What was handed out, and what has come back."""

    def __init__(self, nap_s: float, size: int) -> None:
        self._nap_s = nap_s
        self._size = size
        self.handed_out = 0
        self.came: Counter[int] = Counter()
        self.bins: Counter[int] = Counter()
        self.turns: Counter[int] = Counter()
        """How often we had the processor for a moment, of `TURNS_A_BIN`: less where the machine is busy."""
        self.stopped = threading.Event()
        self.wanted = threading.Event()
        """Somebody waits for the next result."""
        self.wanted.set()

    def numbers(self) -> Iterator[int]:
        while not self.stopped.is_set():
            self.handed_out += 1
            yield self.handed_out - 1

    def count_turns(self) -> None:
        while not self.stopped.wait(BIN_S / TURNS_A_BIN):
            self.turns[int(time.monotonic() / BIN_S)] += 1

    def run(self, client: zmqtasks.Client) -> None:
        same = (itertools.repeat(value) for value in (self._nap_s, self._size, os.urandom(self._size)))
        for number, _ in client.map(nap, self.numbers(), *same, ordered=False):
            self.came[number] += 1
            self.bins[int(time.monotonic() / BIN_S)] += 1
            if self.wanted.is_set():
                self.wanted.clear()
                print("came", flush=True)

    def record(self) -> dict[str, object]:
        return {
            "handed_out": self.handed_out,
            "lost": self.handed_out - len(self.came),
            "doubled": self.came.total() - len(self.came),
            "bins": sorted(self.bins.items()),
            "turns": sorted(self.turns.items()),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("nodes", nargs="+")
    parser.add_argument("--bind", required=True)
    parser.add_argument("--nap", type=float, default=0.05, help="seconds a task takes")
    parser.add_argument("--size", type=int, default=0, help="bytes of each argument and result")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(created).3f %(name)s %(message)s")
    load = Load(given.nap, given.size)

    def watch() -> None:
        while sys.stdin.readline():
            load.wanted.set()
        load.stopped.set()

    threading.Thread(target=watch, daemon=True).start()
    threading.Thread(target=load.count_turns, daemon=True).start()
    with zmqtasks.Client(*given.nodes, bind=given.bind, insecure=True) as client:
        load.run(client)
    print(json.dumps(load.record()))


if __name__ == "__main__":
    main()
