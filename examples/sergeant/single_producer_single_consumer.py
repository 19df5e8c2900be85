"""One producer, one worker: tasks are submitted one by one, run in their order, and their results come back."""

from __future__ import annotations

import zmqtasks


class Greeting(zmqtasks.Worker[str]):
    def initialize(self) -> None:
        self.number = 0

    def run(self, task: zmqtasks.Task) -> str:
        self.number += 1
        return f"{self.number}. hello {task.kwargs['name']}"


def main(client: zmqtasks.Client) -> None:
    futures = [client.submit(Greeting, name=name) for name in ("Ada", "Grace", "Barbara")]
    for future in futures:
        print(future.result())


if __name__ == "__main__":
    with zmqtasks.Client(workers=1) as client:
        main(client)
