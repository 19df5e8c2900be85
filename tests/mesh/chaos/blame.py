"""A task kills the supervisor it runs under, again and again, among many that do no harm.

Promised: it ends as `NodeKiller`, and all others succeed. How many deaths that takes, and how often others were run
again for it, is told. Nodes are started again at once, as a service manager does.
"""

from __future__ import annotations

import threading
from concurrent.futures import wait
from functools import partial
from operator import attrgetter
from typing import Any

from tests.mesh.chaos import tasks
from tests.mesh.chaos.frame import Frame
from tests.mesh.chaos.roles import Role, wait_for
from zmqtasks import Client, NodeKiller
from zmqtasks.processes.flight_recorder import identity_of, path_of, tmpfs_folder

NODES, WORKERS = 2, 2
INNOCENT = 60
END_S = 300.0
START_S = 10.0
MOST_DEATHS = 9
"""Four until it runs alone on a node and three more there, if it was never alone before; and two that met at once."""


def run(frame: Frame) -> dict[str, Any]:
    """Let `frame.times` such tasks do their worst, one after the other."""
    nodes = [frame.node(f"node-{n}", workers=WORKERS, local=True) for n in range(NODES)]
    keeper = Keeper(nodes)
    deaths: list[int] = []
    try:
        with Client(*(frame.addresses[node.name] for node in nodes)) as client:
            for job in range(frame.times):
                frame.fault(f"task {INNOCENT // 2} of {INNOCENT + 1} kills its nodes")
                earlier = keeper.deaths
                _play(frame, client, job)
                for node in nodes:  # the last death may just have been
                    wait_for(partial(attrgetter("is_alive"), node), START_S)
                    node.await_ready()
                deaths.append(keeper.deaths - earlier)
                frame.tell(f"{deaths[-1]} nodes died")
        # Before the thread that has started them ends: they die with it.
        for node in nodes:
            node.end()
            frame.demand(not _has_recorder(frame.addresses[node.name]), f"{node.name} left its flight recorder behind")
    finally:
        keeper.end()
    counts = frame.ledger.counts(dict.fromkeys(range(frame.times), INNOCENT + 1))
    others = [times for count in counts.values() for index, times in enumerate(count) if index != INNOCENT // 2]
    frame.demand(min(others) >= 1, "a task was not executed")
    frame.demand(max(deaths) <= MOST_DEATHS, f"{max(deaths)} nodes died of one task, {MOST_DEATHS} at most should")
    return {
        "tasks": len(others) + frame.times, "deaths": deaths, "most_deaths": max(deaths),
        "executions_per_innocent": round(sum(others) / len(others), 3), "most_executions_of_an_innocent": max(others),
    }  # fmt: skip


def _play(frame: Frame, client: Client, job: int) -> None:
    """Submit them, and see what becomes of each."""
    numbers = [tasks.number_of(job, index) for index in range(INNOCENT + 1)]
    futures = [
        client.submit(tasks.kill_the_node if index == INNOCENT // 2 else tasks.note_1ms, number)
        for index, number in enumerate(numbers)
    ]
    _, open_ = wait(futures, END_S)
    frame.demand(not open_, f"{len(open_)} tasks have not ended after {END_S:.0f} s")
    for index, future in enumerate(futures):
        error = future.exception() if future.done() else None
        if index == INNOCENT // 2:
            frame.demand(isinstance(error, NodeKiller), f"the killer ended as {error!r}")
        else:
            frame.demand(error is None, f"innocent task {index} ended as {error!r}")


def _has_recorder(address: str) -> bool:
    folder = tmpfs_folder()
    return folder is not None and path_of(folder, identity_of([address])).exists()


class Keeper:
    """Start nodes again that have died, as a service manager does."""

    def __init__(self, nodes: list[Role]) -> None:
        self.deaths = 0
        self._nodes = nodes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper")
        self._thread.start()

    def end(self) -> None:
        """Start none any more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.01):
            for node in self._nodes:
                if node.is_killed:
                    self.deaths += 1
                    node.restart()
