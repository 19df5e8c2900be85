"""One fault at a time, and what is promised about it."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from tests.simulation.harness import CLIENT, SimMesh
from tests.simulation.layout import Layout, Submitted
from tests.simulation.oracle import judge, judge_leftovers
from tests.simulation.processes import SINK, WORK, NodeProcess
from tests.simulation.scenarios import (
    executions,
    finish,
    long_partition,
    long_stop,
    long_tasks,
    started,
    vanishing_node,
)
from zmqtasks.errors import RequeueRequested, RetryRequested
from zmqtasks.machines.holding_moves import TasksTaken
from zmqtasks.messages import Chunk, Job, OutcomeKind
from zmqtasks.options import KIB, TaskOptions
from zmqtasks.sessions import Link
from zmqtasks.testing import Conditions, Fate
from zmqtasks.wire import payload
from zmqtasks.wire.payload import Form


@pytest.mark.parametrize("standalone", [False, True])
def test_without_faults_each_task_is_run_once(standalone: bool) -> None:
    mesh = started(layout=Layout(standalone_sink=standalone))
    mesh.submit(2000)
    finish(mesh)
    assert set(executions(mesh).values()) == {1}


def test_a_node_that_vanished_is_given_up_and_its_tasks_go_elsewhere() -> None:
    mesh = vanishing_node()
    assert 10.0 < mesh.clock.time() - 1000 < 20.0
    assert sum(executions(mesh).values()) == 14


def test_a_node_that_is_stopped_for_two_seconds_is_not_given_up() -> None:
    mesh = started()
    mesh.submit(12, long_tasks)
    mesh.clock.call_later(0.5, lambda: mesh.stop("node0", 2.0))
    finish(mesh)
    assert set(executions(mesh).values()) == {1}
    assert mesh.watch.closings == 0


def test_a_client_that_is_stopped_for_most_of_a_minute_loses_nothing_and_blames_nobody() -> None:
    assert long_stop().watch.closings == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_client_that_holds_the_interpreters_lock_for_20_s_has_nothing_run_again(seed: int) -> None:
    """Longer than the silence after which a session is closed: it is its own. No node is given up, and no client.

    Nodes do give up their way to its sink after 10 s, and send again what it had not acknowledged.
    """
    mesh = started(seed)
    mesh.tells = True
    mesh.submit(2000, lambda index, before: Fate(0.005))
    mesh.submit(12, lambda index, before: Fate(7.0))
    for at_s in (0.5, 25.0):
        mesh.clock.call_later(at_s, partial(mesh.stop, CLIENT, 20.0, stalled=True))
    finish(mesh, 120.0)
    over = [line for line in mesh.story if " is over: " in line]
    assert [line for line in over if "<Link node to " not in line] == []
    assert set(executions(mesh).values()) == {1}


@pytest.mark.parametrize("seed", range(5))
def test_at_most_once_tasks_beyond_a_partition_are_run_once_and_end_once(seed: int) -> None:
    """It heals when all have been given up: what they told late changes nothing."""
    mesh = started(seed)
    job = mesh.submit(30, lambda index, before: Fate(1.5), TaskOptions(retry=False))
    mesh.clock.call_later(1.0, mesh.network.partition, CLIENT, "node0")
    mesh.clock.call_later(25.0, mesh.network.heal, CLIENT, "node0")
    mesh.run_until(lambda: bool(job.ends) and mesh.clock.time() > 1040, 60.0)
    kinds = Counter(job.kinds.values())
    assert set(kinds) == {OutcomeKind.OK, OutcomeKind.LOST}
    assert sum(kinds.values()) == 30
    assert set(executions(mesh).values()) == {1}


def test_what_runs_on_a_node_is_not_run_again_after_a_long_partition() -> None:
    mesh = long_partition()
    assert mesh.watch.closings > 0
    assert set(executions(mesh).values()) == {1}


def test_a_worker_that_dies_takes_only_its_own_chunk_back_to_the_start() -> None:
    mesh = started()
    mesh.submit(12, long_tasks)
    mesh.clock.call_later(0.5, lambda: mesh.crash_worker("node0"))
    finish(mesh)
    assert sum(executions(mesh).values()) == 13


def test_the_third_death_of_its_worker_ends_a_task_and_no_other() -> None:
    mesh = started()
    job = mesh.submit(500, lambda index, before: Fate(0.002, crashes=index == 77))
    mesh.run_until(mesh.all_ended, 60.0)
    assert {index for index, kind in job.kinds.items() if kind is not OutcomeKind.OK} == {77}
    assert job.kinds[77] is OutcomeKind.CRASHED
    assert executions(mesh)[job.id, 77] == 3


def test_an_exception_is_retried_as_often_as_was_asked_for() -> None:
    mesh = started()
    options = TaskOptions(retries=2, backoff=0.1)
    job = mesh.submit(50, lambda index, before: Fate(0.01, error=ValueError() if index == 7 else None), options)
    mesh.run_until(mesh.all_ended, 60.0)
    assert {index for index, kind in job.kinds.items() if kind is not OutcomeKind.OK} == {7}
    assert executions(mesh)[job.id, 7] == 3


@pytest.mark.parametrize("standalone", [False, True])
def test_a_task_may_ask_to_be_run_again_as_often_as_its_retries_allow(standalone: bool) -> None:
    mesh = started(layout=Layout(standalone_sink=standalone))
    options = TaskOptions(retries=2, retry=False)
    asks = RetryRequested(0.5)
    job = mesh.submit(50, lambda index, before: Fate(0.01, error=asks if index == 7 else None), options)
    mesh.run_until(mesh.all_ended, 60.0)
    assert {index: kind for index, kind in job.kinds.items() if kind is not OutcomeKind.OK} == {
        7: OutcomeKind.EXHAUSTED
    }
    assert executions(mesh)[job.id, 7] == 3


def test_a_task_that_is_handed_back_at_its_own_wish_is_run_again_and_not_counted() -> None:
    mesh = started()

    def wishes(index: int, before: int) -> Fate:
        return Fate(0.01, error=RequeueRequested() if index == 7 and before < 20 else None)

    job = mesh.submit(50, wishes)
    finish(mesh)
    assert set(job.kinds.values()) == {OutcomeKind.OK}
    assert executions(mesh)[job.id, 7] == 21


def test_at_most_once_tasks_of_a_dead_node_end_as_lost() -> None:
    mesh = started()
    job = mesh.submit(12, long_tasks, TaskOptions(retry=False))
    mesh.clock.call_later(0.5, lambda: mesh.kill("node0"))
    mesh.clock.call_later(1.5, lambda: mesh.restart("node0"))
    finish(mesh)
    assert Counter(job.kinds.values()) == {OutcomeKind.OK: 10, OutcomeKind.LOST: 2}


def test_a_slow_consumer_slows_the_producer_and_memory_stays_flat() -> None:
    mesh = started(layout=Layout(nodes=1, store_s=0.5, window_bytes=KIB))
    job = mesh.submit(2000)
    most = 0

    def unacknowledged() -> bool:
        nonlocal most
        links = [link for process in mesh.processes.values() for link in process.peer.links.values()]
        most = max(most, *(link.unacked_bytes for link in links))
        return job.ends == 1

    mesh.run_until(unacknowledged, 600.0)
    judge(mesh)
    assert most < 8 * KIB


def test_a_sink_that_is_started_again_goes_on_with_what_it_has_stored() -> None:
    mesh = started(layout=Layout(standalone_sink=True, store_s=0.05))
    jobs = [mesh.submit(30, long_tasks)]
    mesh.clock.call_later(2.5, lambda: mesh.kill(SINK))
    mesh.clock.call_later(4.0, lambda: mesh.restart(SINK))
    mesh.clock.call_later(6.0, lambda: jobs.append(mesh.submit(30, long_tasks)))
    mesh.run_until(lambda: len(jobs) == 2, 10.0)
    finish(mesh)
    assert set(executions(mesh).values()) == {1}


def test_jobs_of_before_and_after_the_restart_of_a_sink_share_one_session() -> None:
    mesh = started(layout=Layout(standalone_sink=True))
    jobs: list[Submitted] = [mesh.submit(40, long_tasks)]
    mesh.clock.call_later(1.5, lambda: mesh.kill(SINK))
    mesh.clock.call_later(1.6, lambda: mesh.restart(SINK))
    mesh.clock.call_later(4.0, lambda: jobs.append(mesh.submit(40, long_tasks)))
    mesh.run_until(lambda: len(jobs) == 2, 10.0)
    finish(mesh)
    # Each end of each session that the death of the sink broke, and not one more.
    assert mesh.watch.closings == 1 + mesh.layout.nodes


def test_heartbeats_pass_by_bulk_on_a_narrow_link() -> None:
    mesh = started(layout=Layout(conditions=Conditions(bytes_per_s=2000.0)))
    mesh.submit(2000)
    mesh.run_until(mesh.all_ended, 300.0)
    judge(mesh)


@pytest.mark.parametrize("standalone", [False, True])
def test_two_clients_share_the_nodes_and_one_that_leaves_takes_nothing_from_the_other(standalone: bool) -> None:
    mesh = started(layout=Layout(clients=2, standalone_sink=standalone))
    kept = mesh.submit(60, long_tasks)
    mesh.submit(60, long_tasks, client=1)
    mesh.clock.call_later(2.5, mesh.leave, "client1")
    mesh.run_until(lambda: kept.ends == 1, 60.0)
    assert set(kept.kinds.values()) == {OutcomeKind.OK}
    assert len(mesh.store.values[kept.id]) == 60


def test_a_node_that_drains_hands_back_what_it_has_not_begun() -> None:
    mesh = started()
    mesh.submit(60, long_tasks)
    node = mesh.processes["node0"]
    assert isinstance(node, NodeProcess)
    mesh.clock.call_later(2.5, mesh.drain, "node0")
    finish(mesh)
    assert node.drained
    assert set(executions(mesh).values()) == {1}


def test_what_is_given_up_is_not_begun_and_nothing_of_it_is_kept() -> None:
    mesh = started()
    job = mesh.submit(60, long_tasks)
    mesh.clock.call_later(1.5, lambda: mesh.client.ventilator.cancel(job.id, 0, 60))
    mesh.run_until(mesh.all_ended, 10.0)
    judge_leftovers(mesh)
    assert len(mesh.ledger) <= 12


def test_a_task_that_three_nodes_died_with_is_recorded_as_their_killer() -> None:
    mesh = started(layout=Layout(nodes=1, workers=1, standalone_sink=True))
    job = mesh.submit(1, lambda index, before: Fate(5.0, crashes=before == 0))
    for at_s in (5.0, 10.0, 15.0):
        mesh.clock.call_later(at_s, mesh.kill, "node0")
        mesh.clock.call_later(at_s + 0.1, mesh.restart, "node0")
    mesh.run_until(mesh.all_ended, 30.0)
    assert job.kinds == {0: OutcomeKind.NODE_KILLER}
    mesh.run_until(lambda: mesh.store.failures[job.id][0][1] is OutcomeKind.NODE_KILLER, 10.0)


def test_a_task_that_has_ended_on_nodes_that_died_idle_is_no_killer_of_theirs() -> None:
    mesh = started(layout=Layout(nodes=1, workers=1, standalone_sink=True))
    mesh.network.partition(SINK, "node0")
    job = mesh.submit(1, lambda index, before: Fate(1.0))
    for at_s in (5.0, 10.0, 15.0):
        mesh.clock.call_later(at_s, mesh.kill, "node0")
        mesh.clock.call_later(at_s + 0.1, mesh.restart, "node0")
    mesh.clock.call_later(17.0, mesh.network.heal, SINK, "node0")
    finish(mesh)
    assert job.kinds == {0: OutcomeKind.OK}


def test_a_worker_death_that_a_sink_told_only_after_its_restart_counts_as_one() -> None:
    mesh = started(layout=Layout(nodes=1, workers=1, standalone_sink=True, store_s=0.01))
    job = mesh.submit(1, lambda index, before: Fate(1.0, crashes=before == 0))
    mesh.network.partition("client", SINK)
    mesh.run_until(lambda: bool(mesh.store.failures.get(job.id)), 10.0)
    mesh.kill(SINK)
    mesh.network.heal("client", SINK)
    mesh.restart(SINK)
    finish(mesh)
    assert job.kinds == {0: OutcomeKind.OK}


def told_to_nobody(mesh: SimMesh) -> None:
    """Let the sink acknowledge what the only task came to, and die before it can tell the client."""
    mesh.network.partition("client", SINK)
    (node,) = (process for process in mesh.processes.values() if isinstance(process, NodeProcess))
    mesh.run_until(lambda: bool(mesh.ledger) and all(route.is_empty() for route in node.node._ways.routes), 10.0)
    mesh.kill(SINK)
    mesh.network.heal("client", SINK)
    mesh.restart(SINK)


@pytest.mark.parametrize("asks", [RequeueRequested(), RetryRequested(0.1)], ids=["requeue", "retry"])
@pytest.mark.parametrize("retry", [True, False])
def test_what_a_sink_acknowledged_and_took_with_it_is_found_missing(asks: BaseException, retry: bool) -> None:
    mesh = started(layout=Layout(nodes=1, workers=1, standalone_sink=True))
    job = mesh.submit(1, lambda index, before: Fate(1.0, error=None if before else asks), TaskOptions(retry=retry))
    told_to_nobody(mesh)
    finish(mesh)
    assert job.kinds == {0: OutcomeKind.OK if retry else OutcomeKind.LOST}
    assert len(mesh.ledger) == (2 if retry else 1)


@pytest.mark.parametrize("error", [None, ValueError()], ids=["success", "failure"])
def test_what_an_earlier_sink_stored_is_told_to_whoever_misses_it(
    error: BaseException | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = started(layout=Layout(nodes=1, workers=1, standalone_sink=True))
    monkeypatch.setattr(Link, "request", lambda link, make: None)  # requests are lost
    job = mesh.submit(1, lambda index, before: Fate(1.0, error=error), TaskOptions(retry=False))
    told_to_nobody(mesh)
    mesh.run_until(mesh.all_ended, 60.0)
    assert job.kinds == {0: OutcomeKind.ERROR if error else OutcomeKind.OK}
    assert len(mesh.ledger) == 1


def test_the_inventory_tells_ranges_however_their_results_came() -> None:
    mesh = started(layout=Layout(nodes=1, standalone_sink=True))
    job = mesh.submit(3000, lambda index, before: Fate(0.002))
    mesh.run_until(lambda: len(mesh.ledger) > 1000, 30.0)
    mesh.network.partition("node0", SINK)
    mesh.run_until(lambda: mesh.client.ventilator.aboard() > 0, 1.0)
    node, before = mesh.processes["node0"], mesh.clock.time()
    assert isinstance(node, NodeProcess)
    mesh.run_until(lambda: mesh.clock.time() > before + 2.0, 3.0)
    (route,) = node.node._ways.routes
    told = list(route.finished(mesh.client.peer.id))
    assert len(told) < len(route.unsent())
    assert sum(held.stop - held.start for held in told) == sum(o.stop - o.start for o in route.unsent()) > 0
    assert {held.job for held in told} == {job.id}
    mesh.network.heal("node0", SINK)
    finish(mesh)
    assert set(executions(mesh).values()) == {1}


def test_two_jobs_can_be_sent_to_several_nodes_at_once() -> None:
    mesh = started(layout=Layout(nodes=5, workers=3))
    mesh.submit(40, long_tasks)
    mesh.submit(40, long_tasks)
    finish(mesh)
    assert set(executions(mesh).values()) == {1}


@pytest.mark.parametrize("standalone", [False, True])
@pytest.mark.parametrize("retry", [False, True])
def test_a_ventilator_that_is_killed_goes_on_from_its_journal_and_runs_nothing_again(
    standalone: bool, retry: bool
) -> None:
    mesh = started(layout=Layout(standalone_sink=standalone, journal=True))
    job = mesh.submit(30, long_tasks, TaskOptions(retry=retry))
    mesh.clock.call_later(2.5, lambda: mesh.kill("client"))
    mesh.clock.call_later(4.5, lambda: mesh.restart("client"))
    finish(mesh)
    assert set(job.kinds.values()) == {OutcomeKind.OK}
    assert set(executions(mesh).values()) == {1}


def test_a_worker_whose_end_is_being_told_is_given_nothing_more() -> None:
    """Its successor takes the long task in front, and the short one behind that would be sent ahead to the dead."""
    mesh = started(layout=Layout(nodes=1, workers=1))
    node = mesh.processes["node0"]
    assert isinstance(node, NodeProcess)
    client = mesh.client.peer
    long, short = (Job(f"{client.id}:{n}", "work", client.address, TaskOptions(), WORK) for n in (90, 91))
    for job in (long, short):
        mesh.jobs[job.id] = Submitted(2, TaskOptions(), long_tasks, id=job.id)
    (run,) = payload.pack([0, 1], form=Form.ONE)
    assert run.body is not None
    first, other, behind = (
        Chunk(job.id, attempt, index, index + 1, 0, run.body)
        for attempt, (job, index) in enumerate(((short, 0), (long, 0), (short, 1)))
    )
    node.node._hold(TasksTaken(client.id, (long, short), (first,)))
    node.node._hold(TasksTaken(client.id, (), (other, behind)))
    node.node._holding._stock.lines[client.id].jobs[short.id].task_s = 0.002
    node.workers.crash(node.workers.running()[0])
    mesh.clock.advance(5.0)
    assert executions(mesh) == {(short.id, 0): 1, (long.id, 0): 1, (short.id, 1): 1}


def test_a_task_that_was_aboard_no_node_that_was_given_up_may_not_be_lost() -> None:
    mesh = started()
    mesh.kill("node0", silently=True)
    mesh.clock.run_until(lambda: mesh.watch.closings, 30.0)
    job = mesh.submit(4, long_tasks, TaskOptions(retry=False))
    finish(mesh)
    job.kinds[2] = OutcomeKind.LOST
    with pytest.raises(AssertionError, match="LOST"):
        judge(mesh)


def test_what_waits_for_a_slow_journal_is_not_missed_on_its_node() -> None:
    """At-most-once tasks are counted as aboard while it is written that they may be: longer than two inventories."""
    mesh = started(layout=Layout(standalone_sink=True, journal=True))
    assert mesh.client.journal
    mesh.client.journal.delay_s = 3.5
    job = mesh.submit(4, long_tasks, TaskOptions(retry=False))
    finish(mesh)
    assert set(job.kinds.values()) == {OutcomeKind.OK}
