"""Stores: what is recorded is kept once, shown readably, and acknowledged only when it would survive a kill."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.waiting import wait_until
from zmqtasks.errors import TaskTimeout
from zmqtasks.machines.collection import Record
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import JobId, Outcome, OutcomeKind
from zmqtasks.options import Limits
from zmqtasks.store import Failed, Recorded, Store, StoredJob, open_store
from zmqtasks.store.rows import NO_END, Opener, Row, show
from zmqtasks.store.writer import GATHER_S
from zmqtasks.wire import payload
from zmqtasks.writing import patience

JOB = "00112233aabbccdd:1"
NODE = "ffeeddccbbaa9988"
ENDINGS = [".db", ".jsonl"]


def ok(start: int, values: Sequence[Any], attempt: int = 1, job: str = JOB) -> Outcome:
    (run,) = payload.pack(values)
    assert run.body is not None
    return Outcome(job, attempt, NODE, start, start + len(values), OutcomeKind.OK, 0.5 * len(values), run.body)


def failed(
    task: int, error: Exception, attempt: int = 1, kind: OutcomeKind = OutcomeKind.ERROR, job: str = JOB
) -> Outcome:
    return Outcome(job, attempt, NODE, task, task + 1, kind, 0.25, payload.pack_failure(error))


def raised(error: Exception) -> Exception:
    """Return `error` with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


def whole(*outcomes: Outcome) -> list[Record]:
    return [Record(outcome, outcome.start, outcome.stop) for outcome in outcomes]


def keep(store: Store, *outcomes: Outcome) -> None:
    store.record(whole(*outcomes), lambda: None)
    store.flush(10)


def table(path: Path, columns: str = "task, status, value, error", source: str = "results") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {columns} FROM {source} ORDER BY job, task").fetchall()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def statuses(path: Path) -> dict[int, str]:
    """Return task -> status as a reader of the file understands it, whatever its format."""
    if path.suffix == ".db":
        return dict(table(path, "task, status"))
    return {line["task"]: "ok" if line["ok"] else line["error"]["kind"] for line in lines(path)}


@pytest.fixture(params=ENDINGS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"results{request.param}"


# --- what a row says


def test_rows_of_a_database(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with open_store(str(path)) as store:
        keep(store, ok(0, [1, "two"]), failed(2, ValueError("no"), 3), failed(3, TaskTimeout(), 4, OutcomeKind.TIMEOUT))
    assert table(path, "job, task, status, value, pickle, error_type, error, attempt, node, elapsed_s") == [
        (JOB, 0, "ok", "1", None, None, None, 1, NODE, 0.5),
        (JOB, 1, "ok", '"two"', None, None, None, 1, NODE, 0.5),
        (JOB, 2, "error", None, None, "ValueError", "no", 3, NODE, 0.25),
        (
            JOB,
            3,
            "timeout",
            None,
            None,
            "zmqtasks.errors.TaskTimeout",
            "the task ran longer than its limit",
            4,
            NODE,
            0.25,
        ),
    ]
    assert table(path, "task, error_type", "failures") == [(2, "ValueError"), (3, "zmqtasks.errors.TaskTimeout")]
    assert all(stamp.endswith("+00:00") for (stamp,) in table(path, "recorded_at"))


def test_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with open_store(str(path)) as store:
        store.remember_inputs(JOB, 0, ["a.py", "b.py"])
        keep(store, ok(0, [{"lines": 12}]), failed(1, raised(ValueError("no")), 3), ok(2, [{1, 2}]))
    first, second, third = lines(path)
    assert first == {"task": 0, "input": "a.py", "ok": True, "value": {"lines": 12}, "job": JOB}
    assert second["error"].pop("traceback").strip().endswith("ValueError: no")
    failure = {"kind": "error", "type": "ValueError", "message": "no", "attempt": 3}
    assert second == {"task": 1, "input": "b.py", "ok": False, "error": failure, "job": JOB}
    assert third["value"] is None
    assert pickle.loads(base64.b64decode(third["pickle"])) == {1, 2}


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with open_store("-") as store:
        keep(store, ok(0, [[1, None]]))
        assert capfd.readouterr().out == f'{{"task": 0, "ok": true, "value": [1, null], "job": "{JOB}"}}\n'


@pytest.mark.parametrize("kind", sorted(set(OutcomeKind) - {OutcomeKind.OK, *NO_END}))
def test_each_kind_of_failure_has_its_status(path: Path, kind: OutcomeKind) -> None:
    with open_store(str(path)) as store:
        keep(store, failed(0, ValueError("no"), 2, kind))
        assert store.recorded(JOB) == Recorded(RangeSet(), {0: (2, kind)})
    assert statuses(path) == {0: kind.name.lower()}


@pytest.mark.parametrize("kind", NO_END)
def test_what_is_run_again_is_no_end(path: Path, kind: OutcomeKind) -> None:
    with open_store(str(path)) as store, pytest.raises(ValueError, match="RETURNED and RETRY are no ends"):
        store.record(whole(ok(0, [1]), failed(1, ValueError(), 1, kind)), lambda: None)


@dataclass
class Point:
    x: int
    y: float


class Opaque:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque)

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, 2), "[1, 2]"),
        ({"a": (1,)}, '{"a": [1]}'),
        ({1: "x"}, '{"1": "x"}'),
        (float("inf"), "null"),
        ([1.5, float("-inf")], "[1.5, null]"),
        (Point(1, 2.5), '{"x": 1, "y": 2.5}'),
        (OutcomeKind.TIMEOUT, "3"),
        ([date(2020, 1, 2), Path("a/b")], '["2020-01-02", "a/b"]'),
        (b"bytes", None),
        ({1, 2}, None),
        (Opaque(), None),
        (Point, None),
        (10**5000, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_carry_is_kept_as_pickle(tmp_path: Path, value: object, text: str | None) -> None:
    path = tmp_path / "results.db"
    with open_store(str(path)) as store:
        keep(store, ok(0, [value]))
    ((shown, pickled),) = table(path, "value, pickle")
    assert shown == text
    assert pickle.loads(pickled) == value


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_json_carries_comes_back_the_same(value: object) -> None:
    text, exact = show(value, 2**20)
    assert exact
    assert text is not None
    assert repr(json.loads(text)) == repr(value)


class Unwelcome:
    """Travels well, and arrives as something that cannot travel on, or not at all."""

    def __init__(self, arrives: bool) -> None:
        self.arrives = arrives

    def __reduce__(self) -> tuple[Any, ...]:
        return (threading.Lock, ()) if self.arrives else (int, ("no number",))


@pytest.mark.parametrize(
    ("arrives", "error_type", "error"),
    [(True, "TypeError", "cannot pickle '_thread.lock'"), (False, "zmqtasks.errors.SerializationError", "no number")],
)
def test_a_value_that_cannot_be_kept_is_told_and_harms_no_other(
    tmp_path: Path, arrives: bool, error_type: str, error: str
) -> None:
    path = tmp_path / "results.db"
    with open_store(str(path)) as store:
        keep(store, ok(0, [1, Unwelcome(arrives), [3]]))
    first, second, third = table(path, "status, value, pickle, error_type, error")
    assert (first[:2], third[:2]) == (("ok", "1"), ("ok", "[3]"))
    assert second[:4] == ("ok", None, None, error_type)
    assert error in second[4]


def test_a_failure_that_cannot_be_opened_stays_a_failure(path: Path) -> None:
    with open_store(str(path)) as store:
        keep(store, Outcome(JOB, 1, NODE, 0, 1, OutcomeKind.CRASHED, 0.1, b"\xc1"))
    assert statuses(path) == {0: "crashed"}


def test_a_loop_of_references_is_not_shown() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert show(loop, 2**20) == (None, False)


def test_a_text_beyond_the_limit_is_not_shown() -> None:
    assert show("x" * 100, 50) == (None, False)


def test_odd_texts_are_stored(path: Path) -> None:
    odd = "na\udcffme\0.py"
    with open_store(str(path)) as store:
        store.remember_inputs(JOB, 0, [odd, odd])
        keep(store, ok(0, [odd]), failed(1, ValueError(odd)))
    if path.suffix == ".db":
        (first, second) = table(path, "input, value, error")
        assert (first[0], json.loads(first[1]), second[2]) == ("na\\udcffme\0.py", odd, "na\\udcffme\0.py")
    else:
        assert [line["input"] for line in lines(path)] == ["na\\udcffme\0.py"] * 2


@pytest.mark.parametrize("body", [b"", b"\0" * 40, payload.pack([1, 2, 3])[0].body])
def test_a_body_that_cannot_be_opened_is_told_in_its_rows(path: Path, body: bytes) -> None:
    with open_store(str(path)) as store:
        keep(store, Outcome(JOB, 1, NODE, 0, 2, OutcomeKind.OK, 0.1, body))
        assert store.recorded(JOB).ok == RangeSet([(0, 2)])
    if path.suffix == ".db":
        assert table(path, "status, value, error_type") == [("ok", None, "zmqtasks.errors.RemoteProtocolError")] * 2
    else:
        assert [(line["value"], "expected" in line["error"]) for line in lines(path)] == [(None, True)] * 2


def test_in_safe_mode_no_pickle_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with open_store(str(path), serializer="msgpack") as store:
        keep(store, ok(0, [1]))
    assert table(path, "value, error_type") == [(None, "zmqtasks.errors.RemoteProtocolError")]


def test_a_part_of_an_outcome_is_recorded_as_that_part(path: Path) -> None:
    outcome = ok(10, [0, 1, {2}, 3, 4])
    with open_store(str(path)) as store:
        store.record([Record(outcome, 11, 13), Record(outcome, 14, 15)], lambda: None)
        store.flush(10)
        assert store.recorded(JOB).ok == RangeSet([(11, 13), (14, 15)])
    if path.suffix == ".db":
        assert table(path, "task, value, elapsed_s") == [(11, "1", 0.5), (12, None, 0.5), (14, "4", 0.5)]


# --- which row stays


def test_the_first_success_wins(path: Path) -> None:
    with open_store(str(path)) as store:
        keep(store, failed(0, ValueError("early"), 1))
        keep(store, ok(0, ["first"], 2))
        keep(store, ok(0, ["second"], 3), failed(0, ValueError("late"), 4))
        assert store.recorded(JOB) == Recorded(RangeSet([(0, 1)]), {})
    if path.suffix == ".db":
        assert table(path, "status, value, error_type, error, traceback, attempt") == [
            ("ok", '"first"', None, None, None, 2)
        ]
    else:
        assert [line["ok"] for line in lines(path)] == [False, True]


def test_the_input_stays_with_a_task_that_is_run_again(path: Path) -> None:
    with open_store(str(path)) as store:
        store.remember_inputs(JOB, 5, ["given"])
        keep(store, failed(5, ValueError("no"), 1))
        assert not store._inputs[JOB], "it is in the file, and in memory no more"
        store.remember_inputs(JOB, 5, ["given"])
        keep(store, ok(5, [1], 2))
    assert (table(path, "input") if path.suffix == ".db" else [(lines(path)[-1]["input"],)]) == [("given",)]


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.sampled_from([True, True, False])), min_size=1, max_size=12
)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=25, deadline=None)
@given(steps=STEPS, cuts=st.lists(st.booleans(), min_size=12, max_size=12))
def test_both_formats_follow_the_same_rule(
    tmp_path_factory: pytest.TempPathFactory, ending: str, steps: list[tuple[int, int, bool]], cuts: list[bool]
) -> None:
    path = tmp_path_factory.mktemp("rule") / f"results{ending}"
    kept: dict[int, tuple[bool, int]] = {}
    store = open_store(str(path))
    for (task, attempt, good), cut in zip(steps, cuts, strict=False):
        before = kept.get(task)
        if before is None or (not before[0] and (good or attempt > before[1])):
            kept[task] = (good, attempt)
        store.record(whole(ok(task, [attempt], attempt) if good else failed(task, ValueError(), attempt)), lambda: None)
        if cut:
            store.close()
            store = open_store(str(path))
    store.close()
    with open_store(str(path)) as again:
        found = again.recorded(JOB)
    assert {task for start, stop in found.ok for task in range(start, stop)} == {t for t, (g, _) in kept.items() if g}
    assert found.failed == {task: (n, OutcomeKind.ERROR) for task, (good, n) in kept.items() if not good}


# --- taking up a file


def test_a_file_is_taken_up(path: Path) -> None:
    with open_store(str(path)) as store:
        store.note_job(JOB, "package.f", 100)
        keep(store, ok(0, range(5)), ok(7, range(3)), failed(5, ValueError("no"), 4), ok(0, [1], job="other:1"))
    with open_store(str(path)) as store:
        assert store.recorded(JOB) == Recorded(RangeSet([(0, 5), (7, 10)]), {5: (4, OutcomeKind.ERROR)})
        assert store.recorded("unknown:1") == Recorded(RangeSet(), {})
        assert {job.id for job in store.jobs()} == {JOB, "other:1"}
        keep(store, ok(5, [1], 5))
        assert store.recorded(JOB) == Recorded(RangeSet([(0, 6), (7, 10)]), {})


def test_what_failed_last_is_told_with_its_input(path: Path) -> None:
    with open_store(str(path)) as store:
        assert list(store.failures()) == []
        store.remember_inputs(JOB, 0, ["a", "b", "c"])
        keep(store, failed(2, ValueError(), 7), failed(0, ValueError(), 3), failed(1, ValueError(), 1), ok(1, [1], 2))
        keep(store, failed(0, ValueError(), 4), failed(3, ValueError(), 1))
        expected = [Failed(JOB, 0, 4, "a"), Failed(JOB, 2, 7, "c"), Failed(JOB, 3, 1, None)]
        assert sorted(store.failures()) == expected
    with open_store(str(path)) as store:
        assert sorted(store.failures()) == expected


def test_many_failures_are_told_page_by_page(path: Path) -> None:
    with open_store(str(path)) as store:
        keep(store, *(failed(task, ValueError(), 1, job=f"{JOB}{task % 2}") for task in range(2100)))
        assert sorted(failure.task for failure in store.failures()) == list(range(2100))


def test_jobs_keep_what_is_known_of_them(tmp_path: Path) -> None:
    path = str(tmp_path / "results.db")
    with open_store(path) as store:
        store.note_job(JOB, "package.f")
        store.note_job(JOB, "", 100)
        keep(store, ok(0, [1]))
        assert store.jobs() == [StoredJob(JOB, "package.f", 100)]
    with open_store(path) as store:
        assert store.jobs() == [StoredJob(JOB, "package.f", 100)]


@pytest.mark.parametrize("torn", ['{"task": 1, "ok": tr', '{"ta', '{"task": 1, "ok": true, "value": 1, "job": "a:1"}'])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "results.jsonl"
    with open_store(str(path)) as store:
        keep(store, ok(0, [1]))
    with path.open("a") as file:
        file.write(torn)
    with open_store(str(path)) as store:
        assert store.recorded(JOB).ok == RangeSet([(0, 1)])
        keep(store, ok(1, [2]))
    assert [line["value"] for line in lines(path)] == [1, 2]


@pytest.mark.parametrize("foreign", ['{"a": 1}', '{"a": 1}\n', "[]\n", "name,age\n", '{"task": 0, "ok": true}\nx\n'])
def test_lines_of_something_else_are_refused_and_left_alone(tmp_path: Path, foreign: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(foreign)
    with pytest.raises(ValueError, match=r"results\.jsonl, line 1 is not a result of zmqtasks"):
        open_store(str(path))
    assert path.read_text() == foreign


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="a database, but not one of results"):
        open_store(str(path))
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.write_text("hello, I am a text of some length, and no database at all\n" * 20)
    with pytest.raises(ValueError, match="is not a database of results"):
        open_store(str(path))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    open_store(str(path)).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = '2'")
    with pytest.raises(ValueError, match="has format 2; this version of zmqtasks knows format 1"):
        open_store(str(path))


def test_what_can_only_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.db"
    open_store(str(path)).close()
    monkeypatch.setattr(os, "access", lambda name, mode: False)  # who is root may write anything
    with pytest.raises(OSError, match=r"results\.db is read-only"):
        open_store(str(path))


def test_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no CSV; use \.jsonl or \.db"):
        open_store(str(tmp_path / "results.CSV"))


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(reader) as stream, open_store(str(path)) as store:
        keep(store, ok(0, [1, 2]))
        assert [json.loads(line)["value"] for line in stream.read().splitlines()] == [1, 2]


def test_a_reader_that_does_not_read_does_not_hold_the_program(tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    store = open_store(str(path))
    store.record(whole(ok(0, ["x" * 1_000_000])), lambda: None)
    with open(reader), pytest.raises(TimeoutError):
        store.close(timeout_s=0.05)


def test_a_folder_that_is_not_there(path: Path) -> None:
    with pytest.raises(OSError, match="results"):
        open_store(str(path.parent / "nowhere" / path.name))


# --- two programs at one file


def test_a_file_of_lines_has_one_writer(tmp_path: Path) -> None:
    path = str(tmp_path / "results.jsonl")
    with open_store(path) as store:
        with pytest.raises(OSError, match="is being written by another program"):
            open_store(path)
        keep(store, ok(0, [1]))
    open_store(path).close()


def test_what_is_no_file_has_any_number_of_writers() -> None:
    with open_store(os.devnull) as one, open_store(os.devnull) as two:
        keep(one, ok(0, [1]))
        keep(two, ok(0, [1]))


def test_a_database_takes_several_writers_and_readers(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with open_store(str(path)) as one, open_store(str(path)) as two:
        for task in range(20):
            one.record(whole(ok(task, ["one"])), lambda: None)
            two.record(whole(ok(task, ["two"]), ok(task, [task], job="other:1")), lambda: None)
            table(path)
        one.flush(10)
        two.flush(10)
        assert one.recorded(JOB) == two.recorded(JOB) == Recorded(RangeSet([(0, 20)]), {})
    assert len(table(path)) == 40


# --- the writer thread


def test_it_is_stored_when_it_says_so_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    seen: list[tuple[int, int]] = []
    with open_store(str(path)) as store:
        for number in range(50):
            store.record(whole(ok(number, [number])), lambda n=number: seen.append((n, len(table(path)))))
        store.flush(10)
        assert store.unstored_bytes == 0
    assert [number for number, _ in seen] == list(range(50))
    assert all(rows > number for number, rows in seen)


def test_nothing_recorded_is_told_after_all_that_came_before(path: Path) -> None:
    told: list[str] = []
    with open_store(str(path)) as store:
        store.record(whole(ok(0, [1])), lambda: told.append("stored"))
        store.record((), lambda: told.append("after"))
        store.flush(10)
    assert told == ["stored", "after"]


def test_it_calls_back_in_the_thread_of_a_loop(tmp_path: Path) -> None:
    async def record() -> list[int]:
        loop, called_in = asyncio.get_running_loop(), []
        done = asyncio.Event()
        with open_store(str(tmp_path / "results.db"), deliver=loop.call_soon_threadsafe) as store:
            store.record(whole(ok(0, [1])), lambda: (called_in.append(threading.get_ident()), done.set()))
            await asyncio.wait_for(done.wait(), 10)
        return called_in

    assert asyncio.run(record()) == [threading.get_ident()]


def test_close_stores_the_rest_and_may_be_repeated(path: Path) -> None:
    store = open_store(str(path))
    for number in range(100):
        store.record(whole(ok(number, [number])), lambda: None)
    store.close()
    store.close()
    assert len(statuses(path)) == 100
    with pytest.raises(ValueError, match="closed"):
        store.record(whole(), lambda: None)
    with pytest.raises(ValueError, match="closed"):
        store.note_job(JOB, "f")


def test_a_full_device_is_told_and_nothing_is_acknowledged() -> None:
    failures: list[Exception] = []
    acknowledged: list[int] = []
    store = open_store("/dev/full", on_failure=failures.append)
    store.record(whole(ok(0, [1])), lambda: acknowledged.append(0))
    wait_until(lambda: failures)
    assert store.unstored_bytes > 0
    with pytest.raises(TimeoutError, match=r"1 hand-overs were not stored within 0\.05 s") as caught:
        store.close(timeout_s=0.05)
    assert isinstance(caught.value.__cause__, OSError)
    assert acknowledged == []


class BrokenFile:
    """A backend with a defect."""

    closed = False

    def write(self, jobs: Sequence[StoredJob], new: Iterable[Row]) -> None:
        raise KeyError("defect")

    def recorded(self, job: JobId) -> Recorded:
        return Recorded(RangeSet(), {})

    def jobs(self) -> list[StoredJob]:
        return []

    def failures(self) -> Iterator[Failed]:
        return iter(())

    def close(self) -> None:
        self.closed = True


def test_a_defect_ends_the_writer_and_is_raised() -> None:
    failures: list[Exception] = []
    acknowledged: list[int] = []
    backend = BrokenFile()
    store = Store(backend, opener=Opener(Limits()), on_failure=failures.append)
    store.record(whole(ok(0, [1])), lambda: acknowledged.append(0))
    with pytest.raises(KeyError, match="defect"):
        store.flush(10)
    store.record(whole(ok(1, [1])), lambda: acknowledged.append(1))
    with pytest.raises(KeyError, match="defect"):
        store.close()
    assert [repr(error) for error in failures] == ["KeyError('defect')"]
    assert backend.closed
    assert acknowledged == []


@pytest.mark.parametrize(("now", "wait_s"), [(7.0, GATHER_S), (7.0 + GATHER_S / 4, 0.75 * GATHER_S), (7.5, 0.0)])
def test_a_group_closes_so_long_after_its_first_outcome_whatever_came_in_between(now: float, wait_s: float) -> None:
    assert patience(7.0, GATHER_S, now) == pytest.approx(wait_s)


def test_an_outcome_alone_is_committed_within_20_ms(path: Path) -> None:
    waits: list[float] = []
    with open_store(str(path)) as store:
        for task in range(40):
            stored, began = threading.Event(), time.monotonic()
            store.record(whole(ok(task, [task])), stored.set)
            assert stored.wait(10)
            waits.append(time.monotonic() - began)
    waits.sort()
    print(f"{path.suffix}: committed after {1000 * waits[20]:.1f} ms in the median, {1000 * waits[-1]:.1f} ms at most")
    assert waits[10] <= 0.02, "of a machine that does other things, the better ones"


# --- in a process of its own

HELPERS = """
import os, sys
from zmqtasks.machines.collection import Record
from zmqtasks.messages import Outcome, OutcomeKind
from zmqtasks.store import open_store
from zmqtasks.wire import payload

def ok(start, values):
    stop = start + len(values)
    return Record(Outcome("a:1", 1, "n", start, stop, OutcomeKind.OK, 0.1, payload.pack(values)[0].body), start, stop)
"""

ENDLESS = """
store = open_store(sys.argv[1])
for start in range(0, 10**9, 10):
    store.record([ok(start, range(10))], lambda start=start: os.write(1, b"%d\\n" % (start + 10)))
    if store.unstored_bytes > 10_000:
        store.flush()
"""


def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    program = subprocess.Popen([sys.executable, "-c", HELPERS + ENDLESS, str(path)], stdout=subprocess.PIPE)
    with program:
        assert program.stdout is not None
        acknowledged = [int(program.stdout.readline()) for _ in range(200)][-1]
        program.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, program.stdout.read().split(b"\n")[:-1])])
    with open_store(str(path)) as store:
        assert store.recorded("a:1").ok.missing(0, acknowledged) == []
        keep(store, ok(0, ["late"], 2, job="a:1"))
    assert len(statuses(path)) >= acknowledged
    assert statuses(path)[0] == "ok"


DISK_FULL = """
import resource
def more_room(error):
    print(type(error).__name__, len(acknowledged), flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

acknowledged = []
store = open_store(sys.argv[1], on_failure=more_room)
store.record([ok(0, ["early"])], lambda: acknowledged.append(0))
store.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
store.record([ok(1, ["x" * 1000] * 500)], lambda: acknowledged.append(1))
store.record([ok(501, ["late"])], lambda: acknowledged.append(2))
store.close()
print(acknowledged)
"""


def test_a_full_disk_is_waited_for_and_nothing_is_lost(path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", HELPERS + DISK_FULL, str(path)], stdout=subprocess.PIPE, text=True, check=True
    )
    assert shown.stdout == "OSError 1\n[0, 1, 2]\n"
    assert statuses(path) == dict.fromkeys(range(502), "ok")
    if path.suffix == ".jsonl":
        assert [line["task"] for line in lines(path)] == list(range(502))


READ_ONLY = """
import pathlib, subprocess

def freeze(sign):
    # Not the index in memory that SQLite maps: who writes to that then is ended by SIGBUS, whatever the program.
    files = [str(file) for file in pathlib.Path(sys.argv[1]).parent.iterdir() if not file.name.endswith("-shm")]
    return subprocess.run(["chattr", sign + "i", *files], stderr=subprocess.DEVNULL).returncode == 0

def thaw(error):
    print(isinstance(error, OSError), len(acknowledged), flush=True)
    freeze("-")

acknowledged = []
store = open_store(sys.argv[1], on_failure=thaw)
store.record([ok(0, ["early"])], lambda: acknowledged.append(0))
store.flush()
if not freeze("+"):
    freeze("-")
    sys.exit(77)
try:
    store.record([ok(1, ["late"])], lambda: acknowledged.append(1))
    store.flush(30)
finally:
    freeze("-")
store.close()
print(acknowledged)
"""


def test_a_file_that_turns_read_only_is_waited_for_and_nothing_is_lost(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HELPERS + READ_ONLY, str(path)], stdout=subprocess.PIPE, text=True)
    if done.returncode == 77:
        pytest.skip("this file system, or who runs this, cannot make a file immutable (chattr +i)")
    assert (done.returncode, done.stdout) == (0, "True 1\n[0, 1]\n")
    assert statuses(path) == dict.fromkeys(range(2), "ok")


READER_GONE = """
failures = []
store = open_store("-", on_failure=failures.append)
os.read(0, 1)  # until the reader of our output has gone
store.record([ok(0, [1])], lambda: sys.exit("acknowledged"))
try:
    store.flush(10)
except BrokenPipeError:
    pass
store.record([ok(1, [1])], lambda: sys.exit("acknowledged"))
store.close()
sys.stderr.write(repr(failures))
"""


def test_a_reader_that_has_gone_ends_it_cleanly() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", HELPERS + READER_GONE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert program.stdout is not None
    program.stdout.close()
    program.stdout = None
    _, said = program.communicate(b"x")
    assert said == b"[BrokenPipeError(32, 'Broken pipe')]"
    assert program.returncode == 0
