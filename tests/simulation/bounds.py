"""How much every process of a simulated mesh may keep at once.

Owns the bounds of memory (promise 5), and the most that was seen. A node stops starting tasks of whoever is owed more
results than the window; what its workers have then, one chunk each and one ahead, still comes on top. Looked at now and
then by `storms.py`.
"""

from __future__ import annotations

from tests.simulation.harness import SimMesh
from tests.simulation.processes import ClientProcess, NodeProcess, SinkProcess
from zmqtasks.machines.accounts import CHUNK_BYTES
from zmqtasks.node.routes import OUTCOME_BYTES
from zmqtasks.options import KIB

CHUNK_TASKS = 64
"""More tasks than any chunk has here: the shortest take 2 ms."""
TASK_BYTES = OUTCOME_BYTES + 2 * KIB
"""What an outcome weighs here at most: a small number, or an error with its traceback."""


class Bounds:
    """Look at what every process keeps."""

    def __init__(self, mesh: SimMesh) -> None:
        self.most_owed = 0
        """Bytes of results that one sink had not acknowledged to one node."""
        self._mesh = mesh
        layout = mesh.layout
        self._window = layout.window_bytes
        self._aboard = 2 * (layout.workers + 1) * CHUNK_TASKS * TASK_BYTES

    def check(self) -> None:
        """Raise AssertionError where a process keeps more than it may."""
        for process in self._mesh.processes.values():
            if not process.alive:
                continue
            if isinstance(process, NodeProcess):
                self._check_node(process)
            if isinstance(process, SinkProcess | ClientProcess):
                waiting = process.recorder.waiting_bytes()
                most = self._mesh.layout.nodes * (self._window + self._aboard)
                assert waiting <= most, f"{process.place}: {waiting} bytes wait to be stored, more than {most}"

    def _check_node(self, process: NodeProcess) -> None:
        for route in process.node._ways.routes:
            owed = route._waiting_bytes + route._link.unacked_bytes
            self.most_owed = max(self.most_owed, owed)
            most = self._window + self._aboard
            assert owed <= most, f"{process.place} keeps {owed} bytes of results for {route.address}, more than {most}"
        for ventilator, line in process.node._holding._stock.lines.items():
            held = sum(len(body) for body in {id(p.chunk.body): p.chunk.body for p in line.waiting()}.values())
            most = self._window + CHUNK_BYTES
            assert held <= most, f"{process.place} holds {held} bytes of arguments for {ventilator}, more than {most}"
