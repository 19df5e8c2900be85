"""A task that takes too long is interrupted; it may clean up, and its class may have it run again.

What does not let itself be interrupted is killed when its grace is over, with all that it has started.
"""

from __future__ import annotations

import time

import zmqtasks


class Report(zmqtasks.Worker[str]):
    config = zmqtasks.WorkerConfig(timeout=0.3, grace=5, log_events=zmqtasks.LogEvents(timeout=False))

    def run(self, task: zmqtasks.Task) -> str:
        (seconds,) = task.args
        try:
            time.sleep(seconds / (1 + task.run_count))
        except Exception:
            return "an interruption is no Exception, and is not swallowed"
        return f"done in run {task.run_count}"

    def on_timeout(self, task: zmqtasks.Task) -> None:
        if task.run_count < 2:
            zmqtasks.retry()


def main(client: zmqtasks.Client) -> None:
    print(client.submit(Report, 0.01).result())
    print(client.submit(Report, 0.45).result())
    try:
        client.submit(Report, 60).result()
    except zmqtasks.TaskTimeout as error:
        print("gave up:", str(error).partition("\n")[0])


if __name__ == "__main__":
    with zmqtasks.Client(workers=1) as client:
        main(client)
