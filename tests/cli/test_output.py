"""Output of workers on the command line: labelled in the log of a node, above the progress of a run."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.programs import on_terminal, program, run
from tests.waiting import wait_until

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What a terminal is told, such as to hide its cursor."""


def test_run_shows_what_workers_print(temporary: Path) -> None:
    done = run(temporary, "run", "chores:speak", "-", "--workers", "1", "--show-output", stdin="1\n2\n")
    assert done.returncode == 0, done.stderr
    assert [line.partition("] ")[2] for line in done.stderr.splitlines()] == ["a word from a task"] * 2
    assert done.stderr.startswith("[worker ")
    assert "chores:speak #0]" in done.stderr or "chores.speak #0]" in done.stderr
    assert "a word" not in done.stdout


def test_without_it_lines_are_as_the_task_wrote_them(temporary: Path) -> None:
    done = run(temporary, "run", "chores:speak", "-", "--workers", "1", stdin="1\n")
    assert done.stderr == "a word from a task\n"


def test_lines_stand_above_the_progress_bar(temporary: Path) -> None:
    (temporary / "numbers.jsonl").write_text("".join(f"{number}\n" for number in range(30)))
    with on_terminal(
        temporary, "run", "chores:speak_slowly", "numbers.jsonl", "-o", "out.jsonl", "--workers", "1", "--show-output"
    ) as terminal:
        assert terminal.wait() == 0
        lines = [line for line in terminal.seen.replace("\r", "\n").split("\n") if "a slow word" in line]
    assert len(lines) == 30
    # A word begins its line, but for the codes that took the bar away.
    assert all(CODES.sub("", line.split("[worker ")[0]) == "" for line in lines), lines


def test_a_node_labels_what_its_workers_print(temporary: Path) -> None:
    with program(temporary, "node", "worker", "--bind", "127.0.0.1:0", "--workers", "1") as node:
        done = run(temporary, "run", "chores:speak", "-", "--node", node.address, "--show-output", stdin="1\n")
        assert done.returncode == 0, done.stderr
        assert done.stderr.endswith("#0] a word from a task\n")
        wait_until(lambda: "a word" in node.stdout, lambda: (node.stdout, node.stderr))
        assert node.stdout.startswith("[worker ")
        assert node.stdout.endswith("#0] a word from a task\n")


def test_a_node_without_labels_that_logs_more(temporary: Path) -> None:
    options = ("--bind", "127.0.0.1:0", "--workers", "1", "--no-label-output", "--log-level", "info")
    with program(temporary, "node", "worker", *options) as node:
        done = run(temporary, "run", "chores:speak_and_log", "-", "--node", node.address, stdin="1\n")
        assert done.returncode == 0, done.stderr
        wait_until(lambda: "INFO chores: number 1\n" in node.stderr, lambda: (node.stdout, node.stderr))
        assert node.stdout == "a word from a task\n"


def test_the_level_of_logging(temporary: Path) -> None:
    done = run(temporary, "run", "chores:speak_and_log", "-", "--log-level", "INFO", "--workers", "1", stdin="1\n")
    assert "INFO chores: number 1\n" in done.stderr
    done = run(temporary, "run", "chores:speak_and_log", "-", "--workers", "1", stdin="1\n")
    assert "INFO" not in done.stderr
    done = run(temporary, "run", "chores:speak", "-", "--log-level", "LOUD", stdin="1\n")
    assert done.returncode == 2
