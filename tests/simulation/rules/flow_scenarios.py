"""Directed scenarios of rules 7 and 8 and of the messages: windows, clocks, requests, what is decoded."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

from tests.simulation.harness import CLIENT
from tests.simulation.layout import Layout
from tests.simulation.processes import SINK
from tests.simulation.rules.rule import patched
from tests.simulation.rules.scenarios import finish_s, node_at, run_once
from tests.simulation.scenarios import finish, started
from tests.ventilator import test_resuming
from zmqtasks import sink as sink_module
from zmqtasks.errors import RemoteProtocolError, RetryRequested
from zmqtasks.messages import Query, SessionId
from zmqtasks.options import KIB, Limits
from zmqtasks.records import replace
from zmqtasks.testing import Fate
from zmqtasks.wire import codec

DAY_S = 86_400.0


def a_node_is_sent_what_its_window_takes() -> None:
    mesh = started(layout=Layout(nodes=1))
    shell = node_at(mesh).node
    shell._options = replace(shell._options, window_tasks=50)
    mesh.clock.advance(2.0)
    mesh.submit(5000, lambda index, before: Fate(0.0001))
    account = next(iter(mesh.client.ventilator._dispatch._book.nodes.values()))

    def ended() -> bool:
        assert account.tasks <= 50, f"{account.tasks} tasks are aboard a node that takes 50"
        return mesh.all_ended()

    mesh.clock.run_until(ended, 60.0)


def a_slow_sink_stops_a_node() -> None:
    """The sink takes half a minute for what it has: what is queued on the node waits, and goes on after that."""
    mesh = started(layout=Layout(nodes=1, window_bytes=KIB))
    mesh.submit(20_000, lambda index, before: Fate(0.00002))
    mesh.clock.advance(0.1)
    mesh.slow_down(30.0)
    mesh.clock.advance(20.0)
    held = node_at(mesh).node._holding
    assert held.queued(), "all that was queued was begun, and nobody takes its results"
    mesh.slow_down(0.0)
    mesh.run_until(mesh.all_ended, 60.0)


def a_sink_is_sent_what_its_window_takes() -> None:
    with patched((sink_module, "WINDOW_BYTES", KIB), (sink_module, "LEAST_WINDOW_BYTES", KIB)):
        mesh = started(layout=Layout(nodes=1, store_s=0.5))
        mesh.submit(5000, lambda index, before: Fate(0.0001))

        def ended() -> bool:
            for route in node_at(mesh).node._ways.routes:
                beyond = sum(message.size_bytes for message in route._link.unacked()[:-1])
                assert beyond < KIB, f"{beyond} bytes were on their way when more was sent"
            return mesh.all_ended()

        mesh.clock.run_until(ended, 200.0)


def acknowledgements_do_not_wait_for_the_beat() -> None:
    mesh = started(layout=Layout(nodes=1, window_bytes=KIB))
    mesh.submit(2000)
    took_s = finish_s(mesh, 60.0)
    assert took_s < 3.5, f"it took {took_s:.1f} s"


def clocks_of_the_wall_may_jump() -> None:
    mesh = started(layout=Layout(nodes=1))
    mesh.submit(4, lambda index, before: Fate(15.0))

    def jump(place: str, seconds: float) -> None:
        mesh.processes[place].clock.wall_jump_s = seconds  # type: ignore[attr-defined]

    mesh.clock.call_later(1.5, jump, CLIENT, DAY_S)
    mesh.clock.call_later(2.5, jump, "node0", -DAY_S)
    finish(mesh)
    run_once(mesh)
    assert not mesh.watch.closings


def clocks_of_two_hosts_have_nothing_in_common() -> None:
    mesh = started()
    asks = RetryRequested(2.0)
    mesh.submit(12, lambda index, before: Fate(0.1, error=None if before else asks))
    took_s = finish_s(mesh, 60.0)
    assert 2.0 < took_s < 4.0, f"it took {took_s:.1f} s"


def tasks_are_written_before_they_are_sent() -> None:
    test_resuming.test_a_task_is_released_when_it_is_written_and_not_before(test_resuming.Programs())


def at_most_once_tasks_are_marked_before_they_are_sent() -> None:
    test_resuming.test_at_most_once_only_what_was_perhaps_sent_is_in_doubt(test_resuming.Programs())


def a_sink_dies_over_what_it_was_storing() -> None:
    """It was sent results and had not stored them: nodes have them still, and nothing is run again."""
    mesh = started(layout=Layout(standalone_sink=True, store_s=0.6))
    mesh.submit(30, lambda index, before: Fate(1.0))
    mesh.clock.call_later(1.4, lambda: mesh.kill(SINK))
    mesh.clock.call_later(1.5, lambda: mesh.restart(SINK))
    finish(mesh, 120.0)
    run_once(mesh)


def a_sink_dies_before_it_could_tell() -> None:
    """It had not told what it stored, and a node that knew is gone as well: the next sink is asked."""
    mesh = started(layout=Layout(standalone_sink=True))
    mesh.submit(6, lambda index, before: Fate(1.0))
    mesh.clock.call_later(0.5, mesh.network.partition, CLIENT, SINK)
    mesh.clock.call_later(1.5, mesh.network.reset, CLIENT, SINK)
    mesh.clock.call_later(1.5, lambda: mesh.kill(SINK))
    mesh.clock.call_later(1.5, lambda: mesh.kill("node0", silently=True))
    mesh.clock.call_later(1.6, mesh.network.heal, CLIENT, SINK)
    mesh.clock.call_later(1.7, lambda: mesh.restart(SINK))
    finish(mesh, 120.0)
    run_once(mesh)


# The messages


def a_cancel_that_was_lost_is_repeated() -> None:
    mesh = started(layout=Layout(nodes=1, workers=1))
    job = mesh.submit(1, lambda index, before: Fate(1000.0))
    mesh.clock.advance(1.0)
    mesh.network.partition(CLIENT, "node0")
    mesh.kill_tasks(job, 0, 1)
    mesh.clock.advance(0.005)
    mesh.network.reset(CLIENT, "node0")
    mesh.network.heal(CLIENT, "node0")
    mesh.clock.advance(5.0)
    assert not node_at(mesh).node._holding.busy(), "a task that was killed runs on"


def a_header_that_is_too_large_costs_nothing() -> None:
    """Two MiB of entries, which would be sixteen in memory, for a peer that takes headers of one KiB."""
    entries = 2 * KIB * KIB
    header = b"\x82\xa1t\xa5query\xa1j\xdd" + entries.to_bytes(4, "big") + b"\xc0" * entries
    frame = len(header).to_bytes(4, "big") + header
    tracemalloc.start()
    try:
        with suppress(RemoteProtocolError):
            codec.decode(frame, Limits(header_bytes=KIB))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < KIB * KIB, f"{most} bytes were allocated"


def a_key_of_tomorrow_is_ignored() -> None:
    message = Query(SessionId(1, 1), ("job",))
    frame = codec.encode(message)
    size = int.from_bytes(frame[:4], "big")
    header = bytes([frame[4] + 1]) + frame[5 : 4 + size] + b"\xa2zz\x01"
    assert codec.decode(len(header).to_bytes(4, "big") + header, Limits()) == message
