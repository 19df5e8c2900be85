"""A program with a journal that a test kills: ten quick tasks, then some that wait for a file.

python -m tests.mesh.journalled FOLDER RETRY ADDRESS ...
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import zmqtasks

QUICK, SLOW = 10, 4


def note(folder: str, number: int) -> int:
    """Write down that the task runs; one below zero waits until the test lets it go on."""
    fd = os.open(f"{folder}/ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"%d\n" % number)
    os.close(fd)
    while number < 0 and not os.path.exists(f"{folder}/go"):
        time.sleep(0.005)
    return number


def ledger(folder: Path) -> list[int]:
    path = folder / "ledger"
    return sorted(map(int, path.read_text().split())) if path.exists() else []


def main(folder: str, retry: bool, addresses: list[str]) -> None:
    with zmqtasks.Client(*addresses, journal=f"{folder}/journal.db", retry=retry) as client:
        quick = list(client.map(note, [folder] * QUICK, range(QUICK)))
        Path(folder, "quick").touch()
        slow = [client.submit(note, folder, -1 - number) for number in range(SLOW)]
        told = [repr(future.exception()) if future.exception() else str(future.result()) for future in slow]
    print(quick, told)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "retry", sys.argv[3:])
