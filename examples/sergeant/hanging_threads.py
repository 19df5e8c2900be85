"""Threads that a task leaves behind, one of which nothing can end: the next task is not held up by them.

They live as long as their worker. When that is replaced, here after each task, they end with it.
"""

from __future__ import annotations

import os
import threading
import time

import zmqtasks


class Careless(zmqtasks.Worker[tuple[int, int]]):
    def run(self, task: zmqtasks.Task) -> tuple[int, int]:
        threading.Thread(target=time.sleep, args=(3600,)).start()
        threading.Thread(target=self.go_on_for_ever).start()
        return os.getpid(), threading.active_count() - 1

    @staticmethod
    def go_on_for_ever() -> None:
        while True:
            try:
                time.sleep(3600)
            except BaseException:
                continue


def main(client: zmqtasks.Client) -> None:
    began = time.monotonic()
    left = list(client.map(Careless, range(3)))
    pids = {pid for pid, _ in left}
    print(f"3 tasks left {sum(threads for _, threads in left)} threads in {len(pids)} workers")
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() - began < 60:
        time.sleep(0.01)
    print("all of them are gone" if time.monotonic() - began < 30 else "they are still there")


if __name__ == "__main__":
    with zmqtasks.Client(workers=1, max_tasks_per_worker=1) as client:
        main(client)
