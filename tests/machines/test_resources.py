"""What a node has of the resources that tasks need, and which task of a line may begin."""

from __future__ import annotations

from tests.machines.test_holding import History as _History
from tests.machines.test_holding import chunk_of, given, said
from zmqtasks.machines.holding import Holding
from zmqtasks.machines.holding_moves import RoomTold, WorkerOffered
from zmqtasks.machines.resources import Resources
from zmqtasks.options import TaskOptions


class History(_History):
    """A holding with some resources."""

    def __init__(self, workers: int, **resources: float) -> None:
        super().__init__()
        self.holding = Holding(resources=resources.items())
        self(*(WorkerOffered(slot) for slot in range(workers)))


def needing(**needs: float) -> TaskOptions:
    return TaskOptions(needs=needs)  # type: ignore[arg-type]


def test_as_many_begin_as_there_is_for_and_others_pass() -> None:
    history = History(4, gpu=2)
    for attempt in range(3):
        history.take(chunk_of(attempt, attempt + 1, attempt), options=needing(gpu=1))
    assert (history.holding.busy(), history.holding.queued()) == (2, 1)
    assert given(history.take(chunk_of(0, 1, job="v:2"))) == [(2, "v:2", 0, 1)]
    assert given(history.tell(said(0, 1, 0))) == [(0, "v:1", 2, 3)]


def test_who_needs_much_is_passed_by_none_who_needs_the_same() -> None:
    history = History(4, gpu=2, licence=1)
    history.take(chunk_of(0, 1), options=needing(gpu=1))
    history.take(chunk_of(0, 1, 2, "v:2"), options=needing(gpu=2))
    history.take(chunk_of(0, 1, 3, "v:3"), options=needing(gpu=1))
    assert given(history.take(chunk_of(0, 1, 4, "v:4"), options=needing(licence=1))) == [(1, "v:4", 0, 1)]
    assert history.holding.queued() == 2
    assert given(history.tell(said(0, 1))) == [(0, "v:2", 0, 1)]
    assert given(history.tell(said(0, 1, 2, job="v:2"))) == [(0, "v:3", 0, 1)]


def test_what_is_sent_ahead_uses_what_its_worker_has_already() -> None:
    history = History(2, gpu=1)
    history.take(chunk_of(0, 1), options=needing(gpu=1))
    history.tell(said(0, 1))
    history.take(chunk_of(1, 2, 2), options=needing(gpu=1))
    assert given(history.take(chunk_of(2, 3, 3), options=needing(gpu=1))) == [(0, "v:1", 2, 3)]


def test_tenths_add_up_and_who_asks_for_what_there_is_not_takes_all_there_is() -> None:
    history = History(11, share=1)
    for attempt in range(11):
        history.take(chunk_of(attempt, attempt + 1, attempt), options=needing(share=0.1))
    assert history.holding.busy() == 10
    other = History(1, gpu=1)
    assert given(other.take(chunk_of(0, 1), options=needing(gpu=9, tpu=1))) == [(0, "v:1", 0, 1)]
    assert repr(Resources([("gpu", 2)])) == "<Resources {'gpu': 2}>"


def test_where_memory_is_short_resources_count_as_well() -> None:
    history = History(2, gpu=1)
    history(RoomTold(True, 0, 0))
    history.take(chunk_of(0, 1), options=needing(gpu=1))
    history(RoomTold(False, 1, 1))
    history.take(chunk_of(1, 2, 2), options=needing(gpu=1))
    assert (history.holding.busy(), history.holding.queued()) == (1, 1)
