"""Lines on their way to the program that asked for them."""

from __future__ import annotations

import threading

import zmqtasks
from tests.waiting import wait_until
from zmqtasks.embedded.output import WAITING_CHARS, OutputFeed
from zmqtasks.messages import NO_SESSION, Output, Printed


def output(text: str, dropped: int = 0) -> Output:
    return Output(NO_SESSION, (Printed(2, 4711, "client:1", "talk", 5, "stdout", text),), dropped)


def test_text_is_cut_into_lines() -> None:
    lines: list[zmqtasks.OutputLine] = []
    feed = OutputFeed(lines.append)
    feed.take("node", output("one\r\n\ntwo\rhalf", dropped=3))
    feed.close()
    assert [line.text for line in lines[1:]] == ["one", "", "two", "half"]
    assert lines[0].dropped == 3
    assert lines[0].text.startswith("3 lines of output were lost here")
    assert lines[0].label == "[zmqtasks]"
    assert lines[1].label == "[worker 2 · talk #5]"
    assert (lines[1].node, lines[1].pid, lines[1].job, lines[1].index) == ("node", 4711, "client:1", 5)


def test_a_feed_that_nobody_speaks_to_starts_no_thread() -> None:
    feed = OutputFeed(print)
    feed.take("node", Output(NO_SESSION, end=True))
    assert feed._thread is None
    feed.close()
    feed.take("node", output("too late"))
    assert feed._thread is None


def test_a_program_that_stands_still_loses_lines_and_is_told() -> None:
    lines: list[zmqtasks.OutputLine] = []
    go, begun = threading.Event(), threading.Event()

    def slow(line: zmqtasks.OutputLine) -> None:
        begun.set()
        assert go.wait(30)
        lines.append(line)

    feed = OutputFeed(slow)
    feed.take("node", output("the first"))
    assert begun.wait(10)
    for _ in range(8):
        feed.take("node", output(("x" * 99 + "\n") * (WAITING_CHARS // 400)))  # never waits
    go.set()
    wait_until(lambda: feed._chars == 0, lambda: feed._chars, 30)
    feed.take("node", output("the last"))
    feed.close()
    assert lines[0].text == "the first"
    assert lines[-1].text == "the last"
    lost = sum(line.dropped for line in lines)
    assert lost > 0
    assert lost + sum(line.text.startswith("x") for line in lines) == 8 * (WAITING_CHARS // 400)
