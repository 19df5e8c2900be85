"""One task asks for the end of its node: the other workers finish what they run, and are not replaced.

Here it is the node of the program itself, so nobody is left to run more; nodes on other machines would go on.
"""

from __future__ import annotations

import time

import zmqtasks


class Patient(zmqtasks.Worker[str]):
    def run(self, task: zmqtasks.Task) -> str:
        (what,) = task.args
        if what == "stop":
            zmqtasks.stop_node()
        time.sleep(0.2)
        return f"{what} was finished"

    def on_stop(self, task: zmqtasks.Task) -> None:
        print("asked for the end of the node")


def main(client: zmqtasks.Client) -> None:
    running = client.submit(Patient, "what ran")
    while not running.running():
        time.sleep(0.01)
    stopping = client.submit(Patient, "stop")
    print(running.result(), "and the other returned", stopping.result())
    try:
        client.submit(Patient, "more").result()
    except zmqtasks.NoNodes:
        print("nobody runs anything now")


if __name__ == "__main__":
    with zmqtasks.Client(workers=2) as client:
        main(client)
