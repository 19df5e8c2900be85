"""Tasks that begin later: after a while, or at a time. Those that may begin now do not wait for them."""

from __future__ import annotations

import time
from concurrent.futures import as_completed
from datetime import datetime, timedelta

import zmqtasks


class Reminder(zmqtasks.Worker[tuple[str, float]]):
    def run(self, task: zmqtasks.Task) -> tuple[str, float]:
        return task.args[0], time.time() - task.submitted_at


def main(client: zmqtasks.Client) -> None:
    soon = datetime.now() + timedelta(seconds=0.5)
    futures = [
        client.options(delay=0.25).submit(Reminder, "in a quarter of a second"),
        client.options(not_before=soon).submit(Reminder, "at a time"),
        client.submit(Reminder, "now"),
    ]
    for future in as_completed(futures):
        what, waited_s = future.result()
        print(f"{what}: waited {waited_s:.2f} s")


if __name__ == "__main__":
    with zmqtasks.Client(workers=1) as client:
        main(client)
