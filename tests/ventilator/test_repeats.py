"""The hint at `put`: where one large argument is sent again and again, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from zmqtasks.options import MIB, TaskOptions
from zmqtasks.ventilator.repeats import Repeats
from zmqtasks.ventilator.source import Source
from zmqtasks.wire.payload import Form


def hints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("form", "wrap"),
    [
        (Form.ONE, lambda value, n: value),
        (Form.MANY, lambda value, n: (n, value)),
        (Form.CALL, lambda value, n: ((n,), {"data": value})),
    ],
)
def test_the_same_object_is_hinted_at_once(caplog: pytest.LogCaptureFixture, form: Form, wrap: Any) -> None:
    value = bytes(2 * MIB)
    repeats = Repeats("module.function")
    for n in range(2):
        repeats.look(wrap(value, n), form)
    assert not caplog.records
    for n in range(4):
        repeats.look(wrap(value, n), form)
    (text,) = hints(caplog)
    assert "module.function is given the same bytes of 2 MiB" in text
    assert "client.put(value)" in text


def test_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    repeats = Repeats("f")
    values = [bytearray(MIB) for _ in range(10)]
    for value in values * 3:  # more than are remembered
        repeats.look(value, Form.ONE)
    changing = bytearray(MIB)
    for n in range(5):
        changing[:] = bytes([n]) * MIB
        repeats.look(changing, Form.ONE)
        repeats.look(bytes(100), Form.ONE)
        repeats.look("x" * 2 * MIB, Form.ONE)
        repeats.look(memoryview(bytes(4 * MIB))[::2], Form.ONE)
    assert not caplog.records


def test_arguments_are_looked_at_when_they_are_encoded(caplog: pytest.LogCaptureFixture) -> None:
    source = Source(TaskOptions(), 16 * MIB, "f")
    value = bytes(MIB)
    source.add([value] * 3, Form.ONE)
    source.encode(0, 3)
    assert len(hints(caplog)) == 1
