"""Work that turns out longer than expected moves to idle workers, by the real agreement of node and worker."""

from __future__ import annotations

import pytest

from tests.simulation.layout import Layout
from tests.simulation.processes import NodeProcess
from tests.simulation.scenarios import executions, finish, started
from zmqtasks.options import TaskOptions
from zmqtasks.testing import Fate


@pytest.mark.parametrize("retry", [True, False])
def test_what_a_busy_worker_has_not_begun_goes_to_idle_ones_and_is_begun_once(retry: bool) -> None:
    mesh = started(layout=Layout(nodes=1, workers=3))
    job = mesh.submit(600, lambda index, before: Fate(0.0005 if index < 560 else 0.1), TaskOptions(retry=retry))
    began = mesh.clock.time()
    mesh.clock.run_until(mesh.all_ended, 60.0)
    assert mesh.clock.time() - began < 2.5, "40 tasks of 0.1 s, cut as if they were short, on three workers"
    finish(mesh)
    assert set(executions(mesh).values()) == {1}
    assert len({run.slot for run in mesh.ledger if run.task >= 560}) == 3
    assert not job.wanted_back


@pytest.mark.parametrize("after_s", [0.3, 0.5, 0.7, 0.9])
def test_a_worker_that_dies_while_its_work_is_moved_loses_none_of_it(after_s: float) -> None:
    mesh = started(layout=Layout(nodes=1, workers=3))
    mesh.submit(600, lambda index, before: Fate(0.0005 if index < 560 else 0.1))
    node = mesh.processes["node0"]
    assert isinstance(node, NodeProcess)
    mesh.clock.call_later(after_s, lambda: [node.workers.crash(slot) for slot in node.workers.running()])
    finish(mesh)
    assert max(executions(mesh).values()) <= 2
