"""A message between a node and its worker is lost to a defect: the worker is replaced, and no task waits for ever."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from tests.simulation.harness import SimMesh
from tests.simulation.layout import Layout
from tests.simulation.processes import NodeProcess
from zmqtasks.messages import OutcomeKind, Tasks
from zmqtasks.options import TaskOptions
from zmqtasks.testing import Fate


def forgetful(mesh: SimMesh) -> NodeProcess:
    """Lose the first chunk that a node gives to a worker."""
    node = mesh.processes["node0"]
    assert isinstance(node, NodeProcess)
    send, lost = node.workers.send, []

    def lose_one(slot: int, tasks: Tasks, *, alone: bool = False) -> None:
        if lost:
            send(slot, tasks, alone=alone)
        else:
            lost.append(tasks)

    node.workers.send = lose_one  # type: ignore[method-assign]
    return node


@pytest.mark.parametrize(("retry", "kinds"), [(True, {"OK": 10}), (False, {"OK": 9, "LOST": 1})])
def test_tasks_that_a_worker_never_got_are_run_by_another(
    retry: bool, kinds: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    mesh = SimMesh(1, Layout(nodes=1, workers=2))
    node = forgetful(mesh)
    job = mesh.submit(10, lambda index, before: Fate(0.2), TaskOptions(retry=retry))
    with caplog.at_level(logging.ERROR):
        mesh.run_until(mesh.all_ended, 20.0)
    assert Counter(kind.name for kind in job.kinds.values()) == kinds
    assert max(Counter((run.job, run.task) for run in mesh.ledger).values()) == 1
    (told,) = caplog.messages
    assert told.startswith("worker 0 waits for work, and should have [")
    node.check()


def test_a_task_that_takes_long_is_no_contradiction(caplog: pytest.LogCaptureFixture) -> None:
    mesh = SimMesh(1, Layout(nodes=1, workers=2))
    job = mesh.submit(4, lambda index, before: Fate(30.0))
    mesh.run_until(mesh.all_ended, 100.0)
    assert set(job.kinds.values()) == {OutcomeKind.OK}
    assert len(mesh.ledger) == 4
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
