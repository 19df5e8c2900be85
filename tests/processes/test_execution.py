"""What becomes of the tasks of a chunk, without a process around it."""

from __future__ import annotations

import mmap
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.processes import tasks
from tests.processes.crew import HOST, NODE, make_chunk, make_job, opened
from zmqtasks.errors import (
    ControlFlow,
    RemoteError,
    RequeueRequested,
    RespawnRequested,
    RetryRequested,
    SerializationError,
    StopRequested,
    TooBig,
    WorkerCrashed,
)
from zmqtasks.messages import Address, Chunk, Job, Outcome, OutcomeKind
from zmqtasks.options import MIB, Limits, TaskOptions
from zmqtasks.processes.execution import FLUSH_NS, Execution
from zmqtasks.processes.loops import CALLS, CALLS_OF_FOUR
from zmqtasks.processes.progress import ATTEMPT, CHUNK, INDEX, PHASE, SLOT_BYTES, STOP, UNTIL, WorkPhase
from zmqtasks.wire import payload
from zmqtasks.wire.payload import Form


class Bench:
    """An execution that sends into a list."""

    def __init__(self, limits: Limits | None = None, **hooks: Any) -> None:
        self.sent: list[tuple[Outcome, ...]] = []
        self.slot = memoryview(mmap.mmap(-1, SLOT_BYTES)).cast("Q")
        limits = limits or Limits()
        self.execution = Execution(self.sent.append, self.slot, node=NODE, host=HOST, limits=limits, **hooks)

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for outcomes in self.sent for outcome in outcomes]

    def run(self, function: Any, items: Sequence[Any], form: Form = Form.ONE, **options: Any) -> dict[int, Any]:
        job = make_job(function, **options)
        return self.run_chunk(job, make_chunk(job, items, form))

    def run_chunk(self, job: Job, chunk: Chunk) -> dict[int, Any]:
        self.sent.clear()
        self.execution.add_job(job)
        self.execution.run(chunk)
        self.execution.end_job(job.id)
        return opened(self.outcomes)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_every_form(bench: Bench) -> None:
    assert bench.run(tasks.double, range(3, 6)) == {0: 6, 1: 8, 2: 10}
    assert bench.run(tasks.double, [1, 2]) == {0: 2, 1: 4}
    assert bench.run(tasks.add, [(1, 2), (3,)], Form.MANY) == {0: 3, 1: 3}
    assert bench.run(tasks.add, [((1,), {}), ((1,), {"right": 1})], Form.CALL) == {0: 1, 1: 2}


def test_a_part_of_a_body(bench: Bench) -> None:
    job = make_job(tasks.double)
    whole = make_chunk(job, list(range(100, 120)), start=100)
    part = Chunk(job.id, 2, 105, 108, 100, whole.body)
    assert bench.run_chunk(job, part) == {105: 210, 106: 212, 107: 214}


class TakenBack(Bench):
    """One whose node has taken back the tasks of its first chunk from some position on."""

    def __init__(self, first: int, until: int) -> None:
        self.skipped: list[tuple[int, int]] = []
        super().__init__(skipped=lambda *positions: self.skipped.append(positions))
        self.slot[STOP], self.slot[UNTIL] = first, until


@pytest.mark.parametrize("first", range(6))
def test_what_was_taken_back_is_passed_over_and_what_comes_later_is_not(first: int) -> None:
    bench = TakenBack(first, 6)
    assert bench.run(tasks.double, range(6)) == {n: 2 * n for n in range(first)}
    assert bench.skipped == [(first, 6)]
    assert (bench.slot[CHUNK], bench.slot[PHASE]) == (1, WorkPhase.IDLE)
    assert bench.run(tasks.double, range(6)) == {n: 2 * n for n in range(6)}
    assert len(bench.skipped) == 1


def test_short_tasks_are_claimed_together_and_passed_over_all_the_same() -> None:
    bench = TakenBack(0, 0)
    job = make_job(tasks.double)
    bench.run_chunk(job, make_chunk(job, range(1_000)))
    bench.execution.add_job(job)
    bench.slot[STOP], bench.slot[UNTIL] = 1_700, 2_000
    bench.sent.clear()
    bench.execution.run(make_chunk(job, range(1_000)))
    assert len(opened(bench.outcomes)) == 700
    assert bench.skipped == [(1_700, 2_000)]


@pytest.mark.parametrize("bad", range(3))
def test_a_failure_does_not_end_what_was_left_to_the_worker(bad: int) -> None:
    bench = TakenBack(0, 0)
    job = make_job(tasks.raise_what_is_one)
    bench.run_chunk(job, make_chunk(job, [None] * 1_000))
    bench.execution.add_job(job)
    bench.slot[STOP], bench.slot[UNTIL] = 1_004, 1_008
    bench.sent.clear()
    bench.execution.run(make_chunk(job, [ValueError("bad") if place == bad else None for place in range(8)]))
    assert sorted(opened(bench.outcomes)) == [0, 1, 2, 3]
    assert bench.skipped == [(1_004, 1_008)]


def test_what_was_taken_back_does_not_fail_here() -> None:
    bench = TakenBack(2, 5)
    job = make_job(tasks.double)
    broken = Job(job.id, job.name, job.sink, job.options, b"no function at all")
    results = bench.run_chunk(broken, make_chunk(job, range(5)))
    assert sorted(results) == [0, 1]
    assert bench.skipped == [(2, 5)]


@pytest.mark.parametrize("first", [1, 2])
def test_an_argument_that_cannot_be_opened_fails_where_it_is_begun(first: int) -> None:
    bench = TakenBack(first, 3)
    job = make_job(tasks.double)
    good = make_chunk(job, [[1], [2], [3]])
    results = bench.run_chunk(job, Chunk(job.id, 1, 0, 3, 0, bytes(good.body).replace(b"K\x02", b"\xff\x02")))
    assert sorted(results) == list(range(first))
    assert bench.skipped == [(first, 3)]


@pytest.mark.parametrize("form", list(Form))
def test_failures_harm_only_themselves(bench: Bench, form: Form) -> None:
    wrapped = {Form.ONE: lambda n: n, Form.MANY: lambda n: (n,), Form.CALL: lambda n: ((n,), {})}[form]
    results = bench.run(tasks.fail_on_odd, [wrapped(n) for n in (1, 2, 3, 5, 4)], form)
    assert {n: str(r) for n, r in results.items()} == {0: "1 is odd", 1: "2", 2: "3 is odd", 3: "5 is odd", 4: "4"}
    assert [(o.start, o.stop) for o in bench.outcomes] == [(n, n + 1) for n in range(5)]


@pytest.mark.parametrize(
    ("function", "argument", "expected"),
    [
        (tasks.leave, 3, WorkerCrashed),
        (tasks.interrupt, None, RemoteError),
        (tasks.stop_iteration, None, StopIteration),
        (tasks.recurse, None, RecursionError),
        (tasks.raise_it, MemoryError("full"), MemoryError),
        (tasks.raise_it, GeneratorExit(), RemoteError),
        (tasks.raise_it, ExceptionGroup("two", [ValueError(1), KeyError(2)]), ExceptionGroup),
        (tasks.generate, 3, SerializationError),
        (tasks.make_explosive, ValueError("boom"), SerializationError),
        (tasks.make_explosive, SystemExit(1), SerializationError),
        (tasks.make_explosive, KeyboardInterrupt(), SerializationError),
    ],
)
def test_whatever_is_raised_is_an_outcome(bench: Bench, function: Any, argument: Any, expected: type) -> None:
    results = bench.run(function, [argument])
    assert isinstance(results[0], expected)
    assert bench.outcomes[0].kind is OutcomeKind.ERROR


def test_results_that_cannot_travel_harm_only_themselves(bench: Bench) -> None:
    bench.run(tasks.make_explosive, [None] * 3)
    results = bench.run(tasks.make_explosive, [None, KeyboardInterrupt(), None, ValueError(), None])
    assert [isinstance(results[n], SerializationError) for n in range(5)] == [False, True, False, True, False]


def test_the_traceback_shows_the_task_alone(bench: Bench) -> None:
    error = bench.run(tasks.fail_on_odd, [1])[0]
    text = str(error.__cause__)
    assert "in fail_on_odd" in text
    assert "execution.py" not in text


def test_a_function_that_cannot_be_opened(bench: Bench) -> None:
    job = make_job(tasks.double)
    broken = Job(job.id, job.name, job.sink, job.options, job.function.replace(b"double", b"treble"))  # type: ignore[union-attr]
    results = bench.run_chunk(broken, make_chunk(broken, [1, 2]))
    assert [type(results[n]) for n in range(2)] == [AttributeError] * 2


def test_the_failure_of_a_function_is_kept(bench: Bench) -> None:
    job = make_job(tasks.double)
    broken = Job(job.id, job.name, job.sink, job.options, b"?")
    bench.execution.add_job(broken)
    for _ in range(2):
        bench.execution.run(make_chunk(broken, [1]))
    assert len(bench.outcomes) == 2


def test_arguments_that_cannot_be_opened_harm_only_themselves(bench: Bench) -> None:
    job = make_job(tasks.double)
    good = make_chunk(job, [[1], [2], [3]])
    bad = Chunk(job.id, 1, 0, 3, 0, bytes(good.body).replace(b"K\x02", b"\xff\x02"))
    results = bench.run_chunk(job, bad)
    assert results[0] == [1, 1]
    assert isinstance(results[1], SerializationError)
    assert results[2] == [3, 3]


def test_a_malformed_body_fails_each_task(bench: Bench) -> None:
    job = make_job(tasks.double)
    assert len(bench.run_chunk(job, Chunk(job.id, 1, 5, 8, 5, b"nonsense"))) == 3


def test_a_result_that_is_too_big() -> None:
    bench = Bench(Limits(message_bytes=2 * MIB))
    results = bench.run(tasks.make_bytes, [10, 3 * MIB, 10])
    assert (results[0], results[2]) == (b"x" * 10, b"x" * 10)
    assert isinstance(results[1], TooBig)
    assert [o.kind for o in bench.outcomes] == [OutcomeKind.OK, OutcomeKind.TOO_BIG, OutcomeKind.OK]


def test_messages_stay_below_the_limit() -> None:
    bench = Bench(Limits(message_bytes=2 * MIB))
    bench.run(tasks.make_bytes, [MIB] * 8)
    assert all(sum(len(o.body) for o in outcomes) < 2 * MIB for outcomes in bench.sent)
    assert sum(o.stop - o.start for o in bench.outcomes) == 8


@pytest.mark.parametrize(("form", "item"), [(Form.ONE, 0.004), (Form.MANY, (0.004,)), (Form.CALL, ((0.004,), {}))])
def test_results_leave_while_the_chunk_runs(bench: Bench, form: Form, item: Any) -> None:
    bench.run(tasks.nothing, range(10))
    bench.run(tasks.spend, [item] * 5, form)
    assert len(bench.sent) >= 2
    assert all(outcome.elapsed_s >= 0.004 for outcome in bench.outcomes)


def test_many_results_travel_in_few_messages(bench: Bench) -> None:
    began = time.monotonic_ns()
    bench.run(tasks.nothing, range(50_000))
    flushes = (time.monotonic_ns() - began) // FLUSH_NS
    assert len(bench.sent) <= flushes + 2
    assert len(bench.outcomes) <= flushes + 12


def test_at_most_once_tells_after_each_task(bench: Bench) -> None:
    bench.run(tasks.double, range(5), retry=False)
    assert [(o[0].start, o[0].stop) for o in bench.sent] == [(n, n + 1) for n in range(5)]


def test_results_for_elsewhere_are_compressed(bench: Bench) -> None:
    job = make_job(tasks.make_bytes)
    away = Job(job.id, job.name, Address("client", "elsewhere", ("nowhere",)), TaskOptions(), job.function)
    bench.run_chunk(away, make_chunk(away, [100_000]))
    assert len(bench.outcomes[0].body) < 10_000
    bench.run(tasks.make_bytes, [100_000])
    assert len(bench.outcomes[0].body) > 100_000


def test_safe_mode_opens_no_pickle(bench: Bench) -> None:
    job = make_job(tasks.double)
    safe = Job(job.id, job.name, job.sink, TaskOptions(serializer="msgpack"), job.function)
    results = bench.run_chunk(safe, make_chunk(job, [1]))
    assert isinstance(results[0], Exception)


def test_the_slot_tells_where_it_is(bench: Bench) -> None:
    seen: list[tuple[int, ...]] = []

    def look(_: object) -> None:
        seen.append(tuple(bench.slot[field] for field in (CHUNK, ATTEMPT, INDEX, PHASE)))

    job = make_job(tasks.nothing)
    bench.execution.add_job(job)
    bench.execution._jobs[job.id]._function = look
    bench.execution.run(make_chunk(job, [None] * 3, start=10))
    assert seen == [(1, 7, index, WorkPhase.RUNNING) for index in (10, 11, 12)]
    assert bench.slot[PHASE] == WorkPhase.IDLE
    assert payload.count_of(bench.outcomes[0].body) >= 1


@pytest.mark.parametrize("form", [Form.ONE, Form.MANY])
def test_tiny_tasks_are_shown_and_counted_one_by_one_as_well(bench: Bench, form: Form) -> None:
    def look(value: int) -> int:
        seen.append(bench.slot[INDEX])
        if value in bad:
            raise ValueError(value)
        return -value

    wrapped = {Form.ONE: lambda n: n, Form.MANY: lambda n: (n,)}[form]
    job = make_job(tasks.nothing)
    bench.execution.add_job(job)
    bench.execution._jobs[job.id]._function = look
    # At each place in four; and the number of them is no multiple of it.
    for bad in ([], [40], [61], [82], [103], [150, 151, 152, 153]):
        seen: list[int] = []
        bench.sent.clear()
        bench.execution._jobs[job.id].batch, bench.execution._jobs[job.id]._tiny = 100, True
        bench.execution.run(make_chunk(job, [wrapped(n) for n in range(191)], form, start=0))
        assert seen == list(range(191))
        failed = [outcome.start for outcome in bench.outcomes if outcome.kind is OutcomeKind.ERROR]
        assert failed == bad
        values = opened(bench.outcomes)
        assert all(values[n] == -n for n in range(191) if n not in bad)


def test_what_is_watched_is_never_taken_for_tiny(bench: Bench) -> None:
    for options, tiny in (({}, True), ({"timeout": 5.0}, False), ({"retry": False}, False)):
        job = make_job(tasks.nothing, **options)
        bench.execution.add_job(job)
        known = bench.execution._jobs[job.id]
        known.batch = 100
        known.measure_time(1000, 1_000_000)
        assert known.loop_for(Form.ONE, 103) == ((CALLS_OF_FOUR if tiny else CALLS)[Form.ONE], 100)
        assert known.loop_for(Form.CALL, 30) == (CALLS[Form.CALL], 30)
        known.measure_time(10, 1_000_000)
        assert known.loop_for(Form.ONE, 30) == (CALLS[Form.ONE], 30)


class TestWishes:
    """What a task asks for ends it, and nothing else."""

    @pytest.mark.parametrize("form", list(Form))
    @pytest.mark.parametrize("place", [0, 2, 4])
    @pytest.mark.parametrize(
        ("wish", "expected"),
        [
            (RetryRequested(1.5), (OutcomeKind.RETRY, 1.5)),
            (RequeueRequested(), (OutcomeKind.RETURNED, 0.0)),
            (StopRequested(True), (OutcomeKind.RETURNED, 0.0)),
            (StopRequested(False), (OutcomeKind.OK, 0.0)),
        ],
    )
    def test_one_of_five(self, form: Form, place: int, wish: ControlFlow, expected: tuple[OutcomeKind, float]) -> None:
        stops: list[None] = []
        bench = Bench(stop_node=lambda: stops.append(None))
        wrapped = {Form.ONE: lambda n: n, Form.MANY: lambda n: (n,), Form.CALL: lambda n: ((n,), {})}[form]
        job = make_job(tasks.raise_what_is_one)
        items = [wrapped(wish if n == place else n) for n in range(5)]
        bench.execution.add_job(job)
        bench.execution.run(make_chunk(job, items, form))
        (own,) = [o for o in bench.outcomes if (o.start, o.stop) == (place, place + 1)]
        assert (own.kind, own.delay_s) == expected
        values = opened([o for o in bench.outcomes if o.kind is OutcomeKind.OK])
        assert {n: value for n, value in values.items() if n != place} == {n: n for n in range(5) if n != place}
        assert values.get(place) is None
        assert len(stops) == isinstance(wish, StopRequested)
        assert not bench.execution.leaving

    @pytest.mark.parametrize("place", [0, 2, 4])
    def test_respawn_tells_what_was_done_and_begins_nothing_more(self, place: int) -> None:
        bench = Bench()
        job = make_job(tasks.raise_what_is_one)
        bench.execution.add_job(job)
        bench.execution.run(make_chunk(job, [RespawnRequested() if n == place else n for n in range(5)]))
        assert opened(bench.outcomes) == {n: n for n in range(place)}
        assert bench.execution.leaving == "a task asked for it"
        assert bench.slot[PHASE] == WorkPhase.IDLE

    def test_arguments_that_cannot_be_opened_wait_for_the_next_worker_too(self) -> None:
        bench = Bench()
        job = make_job(tasks.raise_what_is_one)
        bench.execution.add_job(job)
        bench.execution.run(make_chunk(job, [0, RespawnRequested(), tasks.ExplodesWhenLoaded(), 3]))
        assert opened(bench.outcomes) == {0: 0}

    def test_a_reason_to_leave_is_asked_for_between_flushes(self) -> None:
        asked: list[int] = []

        def why(now_ns: int) -> str:
            asked.append(now_ns)
            return "enough" if len(asked) == 3 else ""

        bench = Bench(why_leave=why)
        job = make_job(tasks.spend)
        bench.execution.add_job(job)
        bench.execution.run(make_chunk(job, [0.006] * 10))
        assert len(opened(bench.outcomes)) == 3
        assert bench.execution.leaving == "enough"
