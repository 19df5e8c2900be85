"""One producer, several workers: many tasks are handed over at once, and each idle worker takes the next.

Each worker has an object of its own, whose state the others do not see.
"""

from __future__ import annotations

import os
from collections import Counter

import zmqtasks


class Square(zmqtasks.Worker[tuple[int, int]]):
    def run(self, task: zmqtasks.Task) -> tuple[int, int]:
        (number,) = task.args
        return os.getpid(), number * number


def main(client: zmqtasks.Client) -> None:
    shares: Counter[int] = Counter()
    total = 0
    for pid, square in client.map(Square, range(10_000)):
        shares[pid] += 1
        total += square
    print(f"{total} by {len(shares)} workers: {sorted(shares.values())}")


if __name__ == "__main__":
    with zmqtasks.Client(workers=2) as client:
        main(client)
