"""A client under steady load, as a program for one host: it says when each result came, and whether all came once.

    python -m tests.hosts.load --bind tcp://10.214.0.2:0 NODE ...

It says "came" at its first result, and at the next one after each line of its standard input. It hands out tasks
until that ends, waits for those under way, and prints one JSON object. Times are of the monotonic clock, which all
processes of a machine share.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import zmqtasks

BIN_S = 0.1


def nap(task: tuple[int, float, int]) -> tuple[int, bytes]:
    """Be a task that takes a while and no processor; return its number, and some bytes."""
    index, seconds, size = task
    time.sleep(seconds)
    return index, bytes(size)


class Load:
    """What was handed out, and what has come back."""

    def __init__(self, nap_s: float, size: int) -> None:
        self._nap_s = nap_s
        self._size = size
        self.handed_out = 0
        self.came: Counter[int] = Counter()
        self.bins: Counter[int] = Counter()
        self.turns: Counter[int] = Counter()
        """How often we had the processor for a moment, of ten times a bin: less where the machine is busy."""
        self.stopped = threading.Event()
        self.wanted = threading.Event()
        """Somebody waits for the next result."""
        self.wanted.set()

    def tasks(self) -> Iterator[tuple[int, float, int]]:
        while not self.stopped.is_set():
            self.handed_out += 1
            yield self.handed_out - 1, self._nap_s, self._size

    def count_turns(self) -> None:
        while not self.stopped.wait(BIN_S / 10):
            self.turns[int(time.monotonic() / BIN_S)] += 1

    def run(self, client: zmqtasks.Client) -> None:
        for index, _ in client.map(nap, self.tasks(), ordered=False):
            self.came[index] += 1
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
    parser.add_argument("--nap", type=float, default=0.005, help="seconds a task takes")
    parser.add_argument("--size", type=int, default=0, help="bytes of each result")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(created).3f %(name)s %(message)s")
    load = Load(given.nap, given.size)

    def watch() -> None:
        while sys.stdin.readline():
            load.wanted.set()
        load.stopped.set()

    threading.Thread(target=watch, daemon=True).start()
    threading.Thread(target=load.count_turns, daemon=True).start()
    with zmqtasks.Client(*given.nodes, bind=given.bind) as client:
        load.run(client)
    print(json.dumps(load.record()))


if __name__ == "__main__":
    main()
