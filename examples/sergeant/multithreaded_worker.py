"""Several tasks at a time in one process: for tasks that wait for others, and let the interpreter's lock go meanwhile.

The threads of a worker share one object of the class.
"""

from __future__ import annotations

import os
import threading
import time

import zmqtasks


class Fetch(zmqtasks.Worker[tuple[int, str]]):
    def initialize(self) -> None:
        self.lock = threading.Lock()
        self.at_once = self.most = 0

    def run(self, task: zmqtasks.Task) -> tuple[int, str]:
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(0.2)  # such as a server that takes its time
        with self.lock:
            self.at_once -= 1
        return os.getpid(), f"{task.args[0]}: up to {self.most} at once"


def main(client: zmqtasks.Client) -> None:
    futures = [client.submit(Fetch, f"page {number}") for number in range(4)]
    answers = [future.result() for future in futures]
    for _, answer in answers:
        print(answer)
    print(len({pid for pid, _ in answers}), "process")


if __name__ == "__main__":
    # Without a standby all four threads are in one process: one that is ready sooner would have some of them.
    with zmqtasks.Client(workers=1, threads=4, standby=0) as client:
        main(client)
