"""A program whose client has a journal: half of its calls are submitted, half mapped; it may be killed at any time.

    python -m tests.mesh.chaos.journal_client JOURNAL JOB TASKS ADDRESS ...

Prints how many results were wrong. Started by `ventilator.py`.
"""

from __future__ import annotations

import json
import sys

import zmqtasks
from tests.mesh.chaos import tasks


def main(journal: str, job: int, number: int, addresses: list[str]) -> None:
    numbers = [tasks.number_of(job, index) for index in range(number)]
    half = number // 2
    with zmqtasks.Client(*addresses, journal=journal, connect_timeout=120) as client:
        futures = [client.submit(tasks.note_1ms, n) for n in numbers[:half]]
        values = [*(future.result() for future in futures), *client.map(tasks.note_1ms, numbers[half:])]
    print(json.dumps({"wrong": sum(v != n for v, n in zip(values, numbers, strict=True))}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
