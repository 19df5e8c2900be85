"""Messages are values: frozen, comparable, and of a size that counts bodies only."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from zmqtasks import messages
from zmqtasks.messages import (
    OUTCOME_BYTES,
    Address,
    Bulk,
    Cancel,
    Chunk,
    Errand,
    Errands,
    Hello,
    Job,
    Message,
    Outcome,
    OutcomeKind,
    Output,
    Phase,
    Printed,
    Query,
    QueueCare,
    Range,
    Results,
    Role,
    SessionId,
    Settled,
    Status,
    Stored,
    Tasks,
    Tend,
    Tended,
)
from zmqtasks.options import TaskOptions
from zmqtasks.records import field_names, replace

SESSION = SessionId(epoch=2**62, number=1)
NODE = Address("00112233aabbccdd", "host", ("ipc:///run/a", "tcp://10.0.0.7:7700"))
JOB = Job("00112233aabbccdd:1", "package.f", NODE, TaskOptions(retries=2), b"function")
CHUNK = Chunk(JOB.id, attempt=7, start=10, stop=20, origin=0, body=b"arguments")
OUTCOME = Outcome(JOB.id, 7, NODE.peer, 10, 20, OutcomeKind.OK, 0.5, b"values")
SETTLED = Settled(JOB.id, 7, NODE.peer, 10, 20, OutcomeKind.OK, 0.5)

MESSAGES: list[Any] = [
    Hello(SESSION, Role.VENTILATOR, NODE),
    Status(SESSION, NODE, incarnation=5),
    Tasks(SESSION, 1, (JOB,), (CHUNK, CHUNK), ("old:1",)),
    Results(SESSION, 1, (OUTCOME, OUTCOME)),
    Stored(SESSION, 1, (SETTLED,)),
    Cancel(SESSION, (Range(JOB.id, 0, 5),)),
    Query(SESSION, (JOB.id,)),
    Output(SESSION, (Printed(0, 1, JOB.id, "f", 10, "stdout", "a line\n"),)),
    Errands(SESSION, 1, 0, 1, (Errand(1, 1, JOB.id, b"asked"),)),
    Tend(SESSION, 1, QueueCare.PULL, "default", 3),
    Tended(SESSION, 1, 7, 2, True, 3, b"1\n2\n3\n"),
]


def test_the_list_covers_every_message() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(Message))


@pytest.mark.parametrize("value", [*MESSAGES, JOB, CHUNK, OUTCOME], ids=lambda value: type(value).__name__)
def test_a_message_is_frozen_and_hashable(value: Any) -> None:
    name = field_names(value)[0]
    with pytest.raises(AttributeError, match="immutable"):
        setattr(value, name, None)
    twin = replace(value)
    assert twin == value
    assert hash(twin) == hash(value)
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("kind", get_args(Bulk), ids=lambda kind: kind.__name__)
def test_bulk_messages_are_numbered_and_weighed(kind: type[Any]) -> None:
    assert "seq" in field_names(kind)
    assert kind(SESSION, 1).size_bytes == 0


def test_size_counts_bodies_and_functions() -> None:
    tasks = Tasks(SESSION, 1, (JOB,), (CHUNK, CHUNK))
    assert tasks.size_bytes == 2 * len(b"arguments") + len(b"function")
    assert Results(SESSION, 1, (OUTCOME, OUTCOME)).size_bytes == 2 * (len(b"values") + OUTCOME_BYTES)


def test_settled_is_an_outcome_without_its_body() -> None:
    names = field_names(Outcome)
    assert list(Settled._fields) == [name for name in names if name != "body"]


def test_numbers_on_the_wire_do_not_move() -> None:
    assert [kind.value for kind in OutcomeKind] == list(range(14))
    assert [phase.name for phase in sorted(Phase)] == ["QUEUED", "RUNNING", "FINISHED"]
    assert messages.PROTOCOL_VERSIONS[0] <= messages.PROTOCOL_VERSIONS[1]
