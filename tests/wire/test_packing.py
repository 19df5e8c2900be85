"""Bodies of arguments and results: round trips, cuts, and one bad item among good ones."""

from __future__ import annotations

import pickle
import sys
import threading
from array import array
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.things import RaisesWhenPickled, RaisesWhenUnpickled, Shape, Unprintable
from zmqtasks.errors import RemoteProtocolError, SerializationError, TooBig
from zmqtasks.options import Limits
from zmqtasks.wire import packing, payload
from zmqtasks.wire.bodies import Layout, head_of
from zmqtasks.wire.payload import Form, Run

LIMITS = Limits()
SERIALIZERS = ["pickle", "msgpack"]


def only(runs: list[Run]) -> bytes:
    assert len(runs) == 1
    assert runs[0].body is not None
    return runs[0].body


def values_of(runs: list[Run], **options: Any) -> list[Any]:
    """Return all values, and check that the runs follow one another without a gap."""
    values: list[Any] = []
    for run in runs:
        assert run.start == len(values)
        assert (run.body is None) != (run.error is None)
        if run.body is None:
            values.append(run.error)
        else:
            assert payload.count_of(run.body) == run.stop - run.start
            values += payload.unpack(run.body, **options).values
        assert run.stop == len(values)
    return values


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.binary()
scalars |= st.text(st.characters(codec="utf-8"))
keys = scalars | st.tuples(scalars, scalars)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=10,
)
"""What msgpack carries, and pickle as well."""


def exactly(value: Any) -> Any:
    """Return the value with its types beside it: 1, 1.0 and True are equal, and so are a list and itself as a tuple."""
    if isinstance(value, list | tuple):
        return type(value), [exactly(entry) for entry in value]
    if isinstance(value, dict):
        return dict, [(exactly(key), exactly(entry)) for key, entry in value.items()]
    return type(value), value


@given(st.lists(plain, min_size=1), st.sampled_from(SERIALIZERS), st.sampled_from(Form))
def test_values_survive_exactly(items: list[Any], serializer: str, form: Form) -> None:
    body = only(payload.pack(items, form=form, serializer=serializer))
    unpacked = payload.unpack(body, limits=LIMITS, serializer=serializer)
    assert unpacked.form is form
    assert exactly(list(unpacked.values)) == exactly(items)
    assert unpacked.errors == {}


@given(st.lists(plain, min_size=1), st.data(), st.sampled_from(SERIALIZERS))
def test_a_part_of_a_body_can_be_read(items: list[Any], data: st.DataObject, serializer: str) -> None:
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(items))] * 2)))
    body = only(payload.pack(items, serializer=serializer))
    assert list(payload.unpack(body, first=first, last=last).values) == items[first:last]
    assert list(payload.unpack(memoryview(body), first=first).values) == items[first:]


@pytest.mark.parametrize("compression", ["none", "lz4", "zlib", "gzip", "bzip2", "lzma"])
@pytest.mark.parametrize("items", [["x" * 20_000], [["x"] * 20_000, {1}]])
def test_compression(compression: str, items: list[Any]) -> None:
    body = only(payload.pack(items, compression=compression))
    assert (len(body) < 2_000) == (compression != "none")
    assert payload.unpack(body).values == items


@pytest.mark.parametrize(
    ("items", "layout"),
    [
        ([1, 2.5, "three", b"4", True, None], Layout.BULK),
        ([(1, "a"), (2, "b")], Layout.BULK),
        ([()], Layout.BULK),
        (range(5), Layout.BULK),
        ([[1]], Layout.EACH),
        ([(1, [2])], Layout.EACH),
        ([1, (2,)], Layout.EACH),
        ([Form.ONE], Layout.EACH),
        ([Shape], Layout.EACH),
    ],
)
def test_only_plain_values_are_packed_at_once(items: Any, layout: Layout) -> None:
    assert head_of(only(payload.pack(items))).layout is layout


def test_two_tasks_never_share_what_can_be_changed() -> None:
    shared: list[int] = []
    first, second = payload.unpack(only(payload.pack([shared, shared]))).values
    assert first is not second


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_range_stays_a_range(serializer: str) -> None:
    body = only(payload.pack(range(0, 3_000_000, 3), serializer=serializer, cut_bytes=10))
    assert len(body) < 100
    assert payload.unpack(body).values == range(0, 3_000_000, 3)
    assert payload.unpack(body, first=10, last=20).values == range(30, 60, 3)


def test_more_items_than_a_body_counts_are_several_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_COUNT", 1_000)
    assert values_of(payload.pack(range(2_500))) == list(range(2_500))


@pytest.mark.parametrize("items", [(1, 2, 3), deque([1, 2, 3]), array("i", [1, 2, 3]), [1, 2, 3]])
@pytest.mark.parametrize("cut_bytes", [None, 1])
def test_any_sequence_will_do(items: Any, cut_bytes: int | None) -> None:
    assert values_of(payload.pack(items, cut_bytes=cut_bytes)) == [1, 2, 3]


def test_nothing_gives_no_run() -> None:
    assert payload.pack([]) == payload.pack(()) == payload.pack(range(0)) == []


# --- cuts


@pytest.mark.parametrize(
    "items",
    [
        list(range(10_000)),
        [f"text {n}" * 10 for n in range(2_000)],
        [(n, n / 3, "abc") for n in range(3_000)],
        [{n} for n in range(2_000)],
        [10**n for n in range(500)],
    ],
)
@pytest.mark.parametrize("cut_bytes", [1_000, 4_096, 100_000])
def test_bodies_are_cut_near_the_bound(items: list[Any], cut_bytes: int) -> None:
    runs = payload.pack(items, cut_bytes=cut_bytes)
    assert values_of(runs) == items
    sizes = [len(run.body or b"") for run in runs]
    assert max(sizes) <= cut_bytes
    assert len(sizes) <= 1 + 4 * sum(sizes) / cut_bytes


def test_a_single_item_may_exceed_the_cut_but_not_the_message() -> None:
    items = ["a", "b" * 500, ["c" * 500], "d" * 5_000, ["e" * 5_000], "f"]
    runs = payload.pack(items, cut_bytes=100, most_bytes=1_000)
    errors = {run.start: run.error for run in runs if run.error}
    assert sorted(errors) == [3, 4]
    assert all(type(error) is TooBig for error in errors.values())
    assert "largest message holds 1000" in str(errors[3])
    assert [value for value in values_of(runs) if not isinstance(value, TooBig)] == [*items[:3], "f"]


def test_an_item_at_the_limit_passes() -> None:
    size = len(only(payload.pack([{1}])))
    only(payload.pack([{1}], most_bytes=size))
    (run,) = payload.pack([{1}], most_bytes=size - 1)
    assert isinstance(run.error, TooBig)


# --- one bad item among good ones


def test_an_item_that_cannot_be_pickled_harms_only_itself() -> None:
    runs = payload.pack([1, [2], threading.Lock(), (3, {4}), lambda: 5, threading.Lock(), 6])
    assert [(run.start, run.stop, run.body is None) for run in runs] == [
        (0, 2, False),
        (2, 3, True),
        (3, 5, False),
        (5, 6, True),
        (6, 7, False),
    ]
    error = runs[1].error
    assert type(error) is SerializationError
    assert "cannot pickle this lock: TypeError: cannot pickle '_thread.lock' object" in str(error)
    assert isinstance(error.__cause__, TypeError)


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3), RecursionError(), MemoryError()])
def test_whatever_pickling_raises_is_the_error_of_that_item(raised: BaseException) -> None:
    bad = payload.pack([0, RaisesWhenPickled(raised), 2])[1]
    assert type(bad.error) is SerializationError
    cause = bad.error.__cause__
    assert raised in (cause, cause and cause.__cause__)  # cloudpickle says PicklingError for a RecursionError


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(3), RecursionError(), MemoryError()])
def test_whatever_unpickling_raises_is_the_error_of_that_item(raised: BaseException) -> None:
    body = only(payload.pack([0, RaisesWhenUnpickled(raised), 2]))
    unpacked = payload.unpack(body)
    assert unpacked.values == [0, None, 2]
    assert list(unpacked.errors) == [1]
    assert type(unpacked.errors[1]) is SerializationError
    assert type(unpacked.errors[1].__cause__) is type(raised)
    assert list(payload.unpack(body, first=1).errors) == [0]
    assert payload.unpack(body, last=1).errors == {}


def test_an_error_that_cannot_be_printed_is_named() -> None:
    (run,) = payload.pack([RaisesWhenPickled(Unprintable())])
    assert str(run.error) == "cannot pickle this RaisesWhenPickled: Unprintable"


@pytest.mark.parametrize("make", [RaisesWhenPickled, RaisesWhenUnpickled])
def test_an_interrupt_concerns_the_program_and_not_the_item(make: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        payload.unpack(only(payload.pack([make(KeyboardInterrupt())])))


def test_a_value_that_contains_itself_and_one_too_deep() -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: list[Any] = []
    for _ in range(5 * sys.getrecursionlimit()):
        deep = [deep]
    runs = payload.pack([endless, deep])
    again = payload.unpack(runs[0].body or b"").values[0]
    assert again[0] is again
    assert type(runs[1].error) is SerializationError


def test_lambdas_and_closures_travel_by_value() -> None:
    offset = 5
    (function,) = payload.unpack(only(payload.pack([lambda x: x + offset]))).values
    assert function(1) == 6


# --- safe mode


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (2**64, "the integer has 65 bits"),
        ([-(2**64)], "the integer has 65 bits"),
        ({1, 2}, "no msgpack type for builtins.set"),
        (Shape(), "no msgpack type for tests.wire.things.Shape"),
        ([1, (2, 3j)], "no msgpack type for builtins.complex"),
        (Form.ONE, "no msgpack type for zmqtasks.wire.bodies.Form"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_what_msgpack_cannot_carry_is_told_with_a_remedy(bad: Any, why: str) -> None:
    good, run, more = payload.pack([1, bad, 3], serializer="msgpack")
    assert (good.stop, more.start) == (1, 2)
    assert type(run.error) is SerializationError
    assert why in str(run.error)
    assert 'use serializer="pickle"' in str(run.error)


def test_safe_mode_calls_no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = only(payload.pack([{1}]))
    monkeypatch.setattr(pickle, "dumps", None)
    monkeypatch.setattr(pickle, "loads", None)
    body = only(payload.pack([[1], (2, {"three": 4})], serializer="msgpack"))
    assert payload.unpack(body, serializer="msgpack").values == [[1], (2, {"three": 4})]
    with pytest.raises(RemoteProtocolError, match="body: expected msgpack data, got pickle"):
        payload.unpack(pickled, serializer="msgpack")
    with pytest.raises(RemoteProtocolError, match="body: expected pickle data, got msgpack"):
        payload.unpack(body, serializer="pickle")


@pytest.mark.parametrize("option", ["serializer", "compression"])
def test_unknown_names_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be"):
        payload.pack([1], **{option: "json"})
