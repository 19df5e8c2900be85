"""A task and its worker while it runs: progress goes out, an interruption comes in, and hits nobody else."""

from __future__ import annotations

import mmap
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

import zmqtasks
from tests.processes.crew import HOST, NODE, make_chunk, make_job, opened
from zmqtasks import control
from zmqtasks.errors import TaskInterrupted, TaskTimeout
from zmqtasks.messages import Outcome, OutcomeKind
from zmqtasks.options import Limits
from zmqtasks.processes import execution, loops
from zmqtasks.processes.execution import Execution
from zmqtasks.processes.loops import LOOPS
from zmqtasks.processes.progress import (
    ASKED_CHUNK,
    ASKED_INDEX,
    ASKED_WHY,
    CHUNK,
    DONE,
    INDEX,
    OF_CHUNK,
    OF_INDEX,
    OVERRUN,
    RENEWED,
    SLOT_BYTES,
    STALLED,
    TOTAL,
)
from zmqtasks.processes.running import INTERRUPT_SIGNAL, RunningTask
from zmqtasks.wire.payload import Form


class Worker:
    """What a worker is made of, without a process of its own."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.slot = memoryview(mmap.mmap(-1, SLOT_BYTES)).cast("Q")
        self.execution = Execution(self.outcomes.extend, self.slot, node=NODE, host=HOST, limits=Limits())
        self.running = RunningTask(self.slot, self.execution.at_hand, LOOPS)

    def ask(self, index: int, why: int = OVERRUN, chunk: int = 0) -> None:
        slot = self.slot
        slot[ASKED_WHY], slot[ASKED_INDEX], slot[ASKED_CHUNK] = why, index, chunk or slot[CHUNK]

    def run(self, function: Any, items: list[Any], form: Form = Form.ONE, **options: Any) -> dict[int, Any]:
        self.outcomes.clear()
        job = make_job(function, **({"timeout": 0.5} | options))
        self.execution.add_job(job)
        self.execution.run(make_chunk(job, items, form))
        return opened(self.outcomes)


WORKERS: list[Worker] = []


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    WORKERS.append(worker)
    before = control.running, signal.getsignal(INTERRUPT_SIGNAL)
    worker.running.install()
    yield worker
    control.running = before[0]
    signal.signal(INTERRUPT_SIGNAL, before[1])
    WORKERS.clear()


def interrupt_at(value: int, bad: int) -> int:
    if value == bad:
        WORKERS[-1].ask(WORKERS[-1].slot[INDEX])
        os.kill(os.getpid(), INTERRUPT_SIGNAL)
    return value


def interrupt_the_next(value: int) -> int:
    WORKERS[-1].ask(WORKERS[-1].slot[INDEX] + 1)
    os.kill(os.getpid(), INTERRUPT_SIGNAL)
    return value


def interrupt_twice(_: object) -> str:
    try:
        interrupt_at(1, 1)
    except TaskInterrupted:
        os.kill(os.getpid(), INTERRUPT_SIGNAL)
        return "once"
    return "never"


def stall(done: int | None) -> None:
    if done is not None:
        zmqtasks.progress(done, 10)
    WORKERS[-1].ask(WORKERS[-1].slot[INDEX], STALLED)
    os.kill(os.getpid(), INTERRUPT_SIGNAL)


def test_one_task_of_a_chunk_is_interrupted(worker: Worker) -> None:
    results = worker.run(interrupt_at, [(n, 3) for n in range(6)], Form.MANY)
    error = results.pop(3)
    assert results == {n: n for n in (0, 1, 2, 4, 5)}
    assert isinstance(error, TaskTimeout)
    assert str(error).startswith("the task ran longer than its timeout of 0.5 s, and was interrupted\nstack:")
    assert "in interrupt_at" in error.stack
    assert "zmqtasks/processes" not in error.stack
    assert (error.node, error.pid) == (NODE, os.getpid())
    assert [o.start for o in worker.outcomes if o.kind is OutcomeKind.TIMEOUT] == [3]


def test_who_is_not_meant_is_not_interrupted(worker: Worker) -> None:
    assert worker.run(interrupt_the_next, [0, 1, 2]) == {0: 0, 1: 1, 2: 2}
    worker.ask(0, chunk=9)
    os.kill(os.getpid(), INTERRUPT_SIGNAL)


def test_a_task_is_interrupted_once(worker: Worker) -> None:
    assert worker.run(interrupt_twice, [None]) == {0: "once"}


@pytest.mark.parametrize(("done", "tail"), [(None, "it never called zmqtasks.progress()"), (4, "it was at 4 of 10")])
def test_a_stall_tells_how_far_it_was(worker: Worker, done: int | None, tail: str) -> None:
    error = worker.run(stall, [done], stall_timeout=2.0)[0]
    text = f"the task showed no progress for its stall_timeout of 2 s, and was interrupted; {tail}"
    assert error.args == (text,)


def tell_progress(done: int) -> list[int]:
    zmqtasks.progress(done, 7)
    return [WORKERS[-1].slot[field] for field in (DONE, TOTAL, OF_CHUNK, OF_INDEX)]


def test_progress_names_its_task(worker: Worker) -> None:
    assert worker.run(tell_progress, [2, 5]) == {0: [2, 7, 1, 0], 1: [5, 7, 1, 1]}
    assert worker.slot[RENEWED]


def plain(value: int) -> int:
    total = 0
    for step in range(3):
        total += step * value
    return total + value


def plain_call(value: int) -> int:
    return plain(value)


@pytest.mark.parametrize("hurry", [False, True], ids=["in one go", "one by one"])
@pytest.mark.parametrize("form", list(Form))
def test_at_whatever_instruction_it_comes_only_the_one_that_is_meant_may_fail(
    worker: Worker, form: Form, hurry: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal is let in before each instruction of the loop and of the task in turn, until the chunk is through."""
    monkeypatch.setattr(execution, "FLUSH_NS", -1 if hurry else 10**12)
    monkeypatch.setattr(loops, "GRANULE_NS", -1 if hurry else 10**12)
    wrapped = {Form.ONE: lambda n: n, Form.MANY: lambda n: (n,), Form.CALL: lambda n: ((n,), {})}[form]
    items = [wrapped(n) for n in range(4)]
    assert worker.run(plain_call, items, form) == {n: 4 * n for n in range(4)}
    codes = LOOPS | {plain.__code__, plain_call.__code__, Execution._run_stretch.__code__, Execution._begin.__code__}
    hits = 0
    # Python 3.12 looks at this when `settrace` is called, not when a frame says it.
    sys._getframe().f_trace_opcodes = True
    for moment in range(10_000):
        left = moment

        def trace(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal left
            if frame.f_code not in codes:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                left -= 1
                if left < 0:
                    sys.settrace(None)
                    worker.ask(2)
                    worker.running.interrupted(INTERRUPT_SIGNAL, frame)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            results = worker.run(plain_call, items, form)
        finally:
            sys.settrace(before)
        if left >= 0:
            break
        hits += isinstance(results[2], TaskTimeout)
        del results[2]
        assert results == {0: 0, 1: 4, 3: 12}, moment
    assert left >= 0, "it never ended"
    assert hits > 20
