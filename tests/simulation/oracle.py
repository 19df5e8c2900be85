"""What has to hold when all jobs have ended, whatever befell the mesh.

Owns the verdict. What has to hold at every moment (the invariants of the machines, who may be given up for silence) is
checked on the way, by `harness.py` and `watching.py`.
"""

from __future__ import annotations

from collections import Counter

from tests.simulation.harness import SimMesh
from tests.simulation.layout import Submitted
from tests.simulation.processes import NodeProcess, SinkProcess, work
from zmqtasks.machines.blame import STRIKES
from zmqtasks.messages import OutcomeKind
from zmqtasks.node.routes import Route
from zmqtasks.ventilator.shell import Ventilator

NEVER = 1 << 30
QUIET_S = 40.0
"""Repetitions are asked for less and less often, up to every 32 s; so long it may take until nothing is under way."""


def judge(mesh: SimMesh) -> None:
    """Raise AssertionError, with what is wrong, unless every task ended once, rightly, and was recorded once."""
    assert not mesh.store.twice, f"recorded twice: {mesh.store.twice[:10]}"
    begun = Counter((run.job, run.task) for run in mesh.ledger)
    for job in mesh.jobs.values():
        assert job.ends == 1, f"{job.id} ended {job.ends} times"
        _judge_times(mesh, job)
        _judge_told(job)
        _judge_values(mesh, job)
        if not job.options.retry:
            _judge_at_most_once(job, begun)


def _judge_times(mesh: SimMesh, job: Submitted) -> None:
    """No task begins before its time; at most once, none ends as begun too late that was begun."""
    begun = [run for run in mesh.ledger if run.job == job.id]
    early = [run.task for run in begun if run.told_at_s < job.at_s + job.options.delay]
    assert not early, f"{job.id}: begun before their delay was over: {early[:10]}"
    late = {index for index, kind in job.kinds.items() if kind is OutcomeKind.EXPIRED}
    run_late = {run.task for run in begun if run.task in late and not job.options.retry}
    assert not run_late, f"{job.id}: begun, and told to have expired: {sorted(run_late)[:10]}"


def _judge_told(job: Submitted) -> None:
    missing = [index for index in range(job.total) if index not in job.told and index not in job.killed]
    assert not missing, f"{job.id}: never ended: {missing[:10]}"
    twice = [index for index, times in job.told.items() if times != 1]
    assert not twice, f"{job.id}: ended more than once: {twice[:10]}"
    after = sorted(job.killed & job.told.keys())
    assert not after, f"{job.id}: told of though they were killed: {after[:10]}"
    unasked = [i for i, kind in job.kinds.items() if kind is OutcomeKind.RETURNED and i not in job.wanted_back]
    assert not unasked, f"{job.id}: cancelled, and nobody wanted that: {unasked[:10]}"


def _judge_values(mesh: SimMesh, job: Submitted) -> None:
    """A task that may be run again has a value; whoever was told of success finds it stored, and right."""
    values = mesh.store.values.get(job.id, {})
    wrong = {index: value for index, value in values.items() if value != work(index)}
    assert not wrong, f"{job.id}: wrong values: {wrong}"
    good = (OutcomeKind.OK, OutcomeKind.RETURNED)
    failed = {index: kind for index, kind in sorted(job.kinds.items()) if kind not in good}
    misjudged = {index: kind.name for index, kind in failed.items() if not _is_excused(mesh, job, index, kind)}
    assert not misjudged, f"{job.id}: failed: {misjudged}"
    unharmed = [i for i, kind in job.kinds.items() if job.is_poison(i) and kind is OutcomeKind.OK]
    assert not unharmed, f"{job.id}: ended their workers, and succeeded: {unharmed}"
    lost = [index for index, kind in job.kinds.items() if kind is OutcomeKind.OK and index not in values]
    assert not lost, f"{job.id}: told of success, and no value is stored: {sorted(lost)[:10]}"


def _is_excused(mesh: SimMesh, job: Submitted, index: int, kind: OutcomeKind) -> bool:
    """Tell whether the schedule has made a task fail in this way."""
    if job.is_poison(index):
        return kind in (OutcomeKind.CRASHED, OutcomeKind.NODE_KILLER, OutcomeKind.LOST)
    if kind is OutcomeKind.EXPIRED:
        return job.options.expires is not None
    deaths = mesh.mourned.of(job.id, index)
    if job.options.retry:
        limits = {OutcomeKind.CRASHED: job.options.crash_limit, OutcomeKind.NODE_KILLER: STRIKES}
        return deaths >= limits.get(kind, NEVER)
    if kind is OutcomeKind.CRASHED:
        return deaths > 0
    return kind is OutcomeKind.LOST and mesh.mourned.may_be_lost(job.id, index)


def _judge_at_most_once(job: Submitted, begun: Counter[tuple[str, int]]) -> None:
    repeated = {index: begun[job.id, index] for index in range(job.total) if begun[job.id, index] > 1}
    assert not repeated, f"{job.id}: at-most-once tasks were begun more than once: {repeated}"
    unrun = [i for i, kind in job.kinds.items() if kind is OutcomeKind.OK and not begun[job.id, i]]
    assert not unrun, f"{job.id}: succeeded without being run: {unrun}"


def judge_leftovers(mesh: SimMesh) -> None:
    """Raise AssertionError where something of ended jobs is still kept."""
    mesh.run_until(lambda: not leftovers(mesh), QUIET_S)


def leftovers(mesh: SimMesh) -> list[str]:
    """Return what is still kept of jobs, all of which have ended."""
    found = [left for client in mesh.clients for left in _of_ventilator(client.ventilator)]
    if any(client.sink and client.sink._collection._jobs for client in mesh.clients):
        found.append("a collection knows a job")
    for process in mesh.processes.values():
        if not process.alive:
            continue
        found += [f"{link!r}" for link in process.peer.links.values() if link.unacked()]
        if isinstance(process, NodeProcess):
            found += _of_node(process)
        if isinstance(process, SinkProcess):
            found += [f"{teller!r}" for teller in process.sink._tellers.values() if teller._waiting]
    return found


def _of_ventilator(ventilator: Ventilator) -> list[str]:
    dispatch = ventilator._dispatch
    kept = {
        "jobs": ventilator._jobs,
        "jobs of the machine": dispatch._book.jobs,
        "ready jobs": dispatch._book.ready,
        "assignments": dispatch._book.assignments,
        "unsent outcomes": ventilator._sink._unsent if ventilator._sink else [],
        "tasks aboard": dispatch.aboard(),
        "wishes": dispatch._wishes._by_attempt,
    }
    return [f"{name}: {left}" for name, left in kept.items() if left]


def _of_node(process: NodeProcess) -> list[str]:
    node, found = process.node, []
    if node._holding.busy() or node._holding.queued():
        found.append(f"{node!r}")
    routes: list[Route] = list(node._ways.routes)
    return found + [f"{process.place} has unacknowledged results" for route in routes if not route.is_empty()]
