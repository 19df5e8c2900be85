"""A task that fails is run again, three times; then its class hears that its retries are used up.

`retries=3` are four runs: the first, and three more. A pause lies before each; it doubles.
"""

from __future__ import annotations

import zmqtasks


class Flaky(zmqtasks.Worker[str]):
    config = zmqtasks.WorkerConfig(
        retries=3, backoff=0.01, retry_on=ConnectionError, log_events=zmqtasks.LogEvents(failure=False)
    )

    def run(self, task: zmqtasks.Task) -> str:
        (good_from,) = task.args
        if task.run_count < good_from:
            raise ConnectionError(f"run {task.run_count} found nobody")
        return f"run {task.run_count} went well"

    def on_retry(self, task: zmqtasks.Task) -> None:
        print(f"{task.args[0]}: will be run again after run {task.run_count}")

    def on_max_retries(self, task: zmqtasks.Task) -> None:
        print(f"{task.args[0]}: no retries left after run {task.run_count}")


def main(client: zmqtasks.Client) -> None:
    print(client.submit(Flaky, 2).result())
    try:
        client.submit(Flaky, 9).result()
    except ConnectionError as error:
        print("failed:", error)


if __name__ == "__main__":
    with zmqtasks.Client(workers=1) as client:
        main(client)
