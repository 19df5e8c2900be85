"""What workers print: kept, passed on, never in the way."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from tests.processes import tasks
from tests.processes.crew import Crew
from tests.waiting import wait_until
from zmqtasks.processes.output import PARTIAL_LINE_BYTES, TAIL_BYTES, WAITING_BYTES, Drain, Outlet, Tail, split_stack


def test_a_tail_keeps_the_last_whole_lines() -> None:
    tail = Tail()
    for number in range(100_000):
        tail.add(b"line %d\n" % number)
    lines = tail.text().splitlines()
    assert lines[-1] == "line 99999"
    assert all(line.startswith("line ") for line in lines)
    assert TAIL_BYTES - 100 < len(tail.text()) <= TAIL_BYTES


def test_a_tail_of_one_endless_line() -> None:
    tail = Tail()
    tail.add(b"\xc3" + b"x" * 3 * TAIL_BYTES)
    assert tail.text() == "x" * TAIL_BYTES


def test_a_tail_from_a_place_in_each_stream() -> None:
    tail = Tail()
    for number in range(3):
        tail.add(b"out %d\n" % number, 0)
        tail.add(b"err %d\n" % number, 1)
    assert tail.text() == "out 0\nerr 0\nout 1\nerr 1\nout 2\nerr 2\n"
    assert tail.text((6, 12)) == "out 1\nout 2\nerr 2\n"
    assert tail.text((15, 18)) == " 2\n", "it is a number of bytes"
    assert tail.text((99, 99)) == ""


def test_a_tail_of_two_streams_in_turn_is_bounded() -> None:
    tail = Tail()
    for number in range(10_000):
        tail.add(b"%d\n" % number, number % 2)
    lines = tail.text().splitlines()
    assert 1_000 < len(lines) <= 2_000
    assert lines == [str(number) for number in range(10_000 - len(lines), 10_000)]


class Pipes:
    """A pipe from a worker, and one to whoever reads our output."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        source, self.worker = os.pipe()
        self.reader, self.target = os.pipe()
        self.tail, self.outlet = Tail(), Outlet()
        self.drain = Drain(self.loop, source, self.tail, partial(self.outlet.write, self.target))

    def say(self, data: bytes) -> None:
        os.write(self.worker, data)
        self.turn()

    def turn(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))

    def heard(self) -> bytes:
        return os.read(self.reader, 100_000)

    def close(self) -> None:
        self.drain.close()
        os.close(self.worker)
        os.close(self.reader)
        self.outlet.close()
        os.close(self.target)
        self.loop.close()


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    pipes.close()


def test_whole_lines_are_passed_on_at_once(pipes: Pipes) -> None:
    pipes.say(b"one\ntw")
    assert pipes.heard() == b"one\n"
    pipes.say(b"o\rthree\n")
    assert pipes.heard() == b"two\rthree\n"


def test_half_a_line_is_passed_on_after_a_while(pipes: Pipes) -> None:
    pipes.say(b"what is ")
    pipes.loop.run_until_complete(asyncio.wait_for(pipes.loop.run_in_executor(None, pipes.heard), 5))
    pipes.loop.run_until_complete(pipes.loop.shutdown_default_executor())
    assert pipes.tail.text() == "what is "


def test_half_a_line_that_is_long_is_passed_on_at_once(pipes: Pipes) -> None:
    pipes.say(b"x" * (PARTIAL_LINE_BYTES + 1))
    assert pipes.heard() == b"x" * (PARTIAL_LINE_BYTES + 1)


def test_the_end_passes_on_what_is_left(pipes: Pipes) -> None:
    os.write(pipes.worker, b"last words")
    pipes.drain.finish()
    assert pipes.heard() == b"last words"
    assert pipes.tail.text() == "last words"


def test_a_reader_that_stands_still_costs_output_not_time(pipes: Pipes) -> None:
    piece = b"y" * 50_000 + b"\n"
    for _ in range(2 * WAITING_BYTES // len(piece)):
        pipes.outlet.write(pipes.target, piece)  # would block, were it to wait
    told = b""
    while (readable := select.select([pipes.reader], [], [], 0.01)[0]) or pipes.outlet._waiting:
        if readable:
            told = told[-1000:] + pipes.heard()
    pipes.outlet.write(pipes.target, b"again\n")
    while not told.endswith(b"again\n"):
        told += pipes.heard()
    assert b"[zmqtasks: " in told
    assert told.endswith(b" bytes of output dropped here: its reader is too slow]\nagain\n")
    wait_until(lambda: pipes.outlet._waiting == 0, lambda: pipes.outlet._waiting)


def test_a_reader_that_is_gone_harms_nothing() -> None:
    outlet = Outlet()
    reader, writer = os.pipe()
    os.close(reader)
    outlet.write(writer, b"nobody hears\n")
    outlet.close()
    outlet.write(writer, b"too late\n")
    os.close(writer)


def test_output_of_workers_reaches_us_and_the_tail(capfd: pytest.CaptureFixture[str]) -> None:
    with Crew() as crew:
        crew.ready()
        crew.results(tasks.say, ["hello"])
        crew.results(tasks.complain, ["oh dear"])
        crew.results(tasks.say_partial, ["half"])
        crew.force.stop(0)
        assert sorted(crew.exited().output_tail.splitlines()) == ["half", "hello", "oh dear"]
    heard = capfd.readouterr()
    assert (heard.out, heard.err) == ("hello\nhalf", "oh dear\n")


def test_what_a_worker_dies_over_is_told_with_the_output_of_that_task() -> None:
    with Crew() as crew:
        crew.ready()
        crew.results(tasks.say, ["of an earlier task"])
        crew.results(tasks.complain, ["of another one"])
        crew.give(tasks.say_and_die, ["first", "and last"])
        said = sorted(crew.exited().output_tail.splitlines())
        assert said == ["and last", "and last, again"], "the first one of the chunk lives"
    with Crew() as crew:
        crew.ready()
        crew.results(tasks.say, ["of an earlier task"])
        crew.give(tasks.die_by, [9])
        assert crew.exited().output_tail == "", "this one prints nothing"


def test_output_to_standard_error_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with Crew(output="stderr") as crew:
        crew.ready()
        crew.results(tasks.say, ["hello"])
    assert capfd.readouterr() == ("", "hello\n")


def test_half_a_line_appears_while_the_worker_lives(capfd: pytest.CaptureFixture[str]) -> None:
    with Crew() as crew:
        crew.ready()
        crew.results(tasks.say_partial, ["half"])
        crew.until(lambda: capfd.readouterr().out == "half")


def test_100_mb_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with Crew() as crew:
        crew.ready()
        crew.results(tasks.say_much, [100_000_000])
        crew.force.stop(0)
        assert len(crew.exited().output_tail) == TAIL_BYTES // 100 * 100
    capfd.readouterr()


def test_our_output_may_be_a_full_pipe() -> None:
    """A supervisor whose standard output nobody reads goes on working."""
    program = (
        "from tests.processes import tasks\nfrom tests.processes.crew import Crew\nimport sys\n"
        "with Crew() as crew:\n"
        "    crew.ready()\n"
        "    crew.results(tasks.say_much, [5_000_000])\n"
        "    done = crew.results(tasks.double, [21])\n"
        "    print(done, file=sys.stderr, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"{0: 42}\n"
        assert process.wait(20) == 0


def test_a_stack_is_told_apart_from_what_was_printed() -> None:
    assert split_stack("printed\n") == ("printed\n", "")
    fatal = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n  File x\n"
    assert split_stack("printed\n" + fatal) == ("printed\n", fatal)
    asked = "Thread 0x00007e (most recent call first):\n  File y\n\nCurrent thread 0x00007f (most recent call first):\n"
    assert split_stack("half a line\n" + asked) == ("half a line\n", asked)


def test_a_tail_knows_when_the_stack_it_expects_has_come() -> None:
    tail = Tail()
    tail.add(b"Current thread 0x0000 (most recent call first):\n  of an earlier crash\n")
    assert tail.stack_bytes() == 0
    tail.expect_stack()
    tail.add(b"what the task prints\n")
    assert tail.stack_bytes() == 0
    tail.add(b"x" * 3 * TAIL_BYTES + b"\n")
    tail.add(b"Current thread 0x00007f (most recent call first):\n")
    first = tail.stack_bytes()
    assert first > 0
    tail.add(b"  File a.py, line 1 in f\n")
    assert tail.stack_bytes() == first + 25
