"""`zmqtasks bench`: the cases on meshes of both kinds, what is refused, and what a terminal shows."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.programs import on_terminal, program, run

QUICK = ("--repeats", "1", "--budget", "10 ms")


def test_a_node_of_its_own(tmp_path: Path) -> None:
    done = run(tmp_path, "bench", "W1", "round_trip", "--workers", "1", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["case", "what", "median", "least", "most", "unit", "tasks"]
    assert [line.split()[:3] for line in lines] == [
        ["W1", "submit", "calls"],
        ["W3", "round_trip", "p50"],
        ["W3", "round_trip", "p99"],
    ]


def test_running_nodes(tmp_path: Path) -> None:
    with program(tmp_path, "worker", "worker", "--bind", "127.0.0.1:0", "--workers", "2") as node:
        done = run(tmp_path, "bench", "mapping", "balance", "--node", node.address, "--json", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["case"], line["what"], line["unit"], line["workers"]) for line in lines] == [
        ("W2 mapping", "calls", "/s", 2),
        ("W5 balance", "5 ms, of the ideal", "%", 2),
        ("W5 balance", "mix, of the ideal", "%", 2),
    ]
    assert all(0 < line["least"] <= line["median"] <= line["most"] for line in lines)


def test_what_is_refused(tmp_path: Path) -> None:
    nobody = "127.0.0.1:9"
    for words, code, told in (
        (("W9",), 2, "no case 'W9'; there are W1 submit, W2 mapping"),
        (("--node", nobody, "--workers", "2"), 2, "--workers: for a node that is started here"),
        (("--bind", "127.0.0.1:0"), 2, "--bind, --advertise and --lease: for nodes of --node"),
        (("--node", nobody, "--connect-timeout", "0.2 s"), 4, nobody),
    ):
        done = run(tmp_path, "bench", *words)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert told in done.stderr


def test_a_terminal_shows_a_bar_a_case(tmp_path: Path) -> None:
    with on_terminal(tmp_path, "bench", "W1", "W4", "--workers", "1", *QUICK) as terminal:
        assert terminal.wait() == 0
        seen = terminal.seen
    assert "bytes that come back as they went" in seen
    assert "64 MiB, there and back" in seen
