"""INPUT: what each kind of line is to the function, and what is wrong with some."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until
from zmqtasks.cli.inputs import Argument, Source, Unreadable
from zmqtasks.wire.payload import Form


@pytest.fixture
def stop() -> Iterator[tuple[int, int]]:
    """A pipe: what is to be watched, and what wakes it."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def read(stop_fd: int, *names: object, **how: Any) -> list[Argument | Unreadable]:
    return list(Source(tuple(map(str, names)), **how).read(stop_fd, lambda: None))


def items(stop_fd: int, *names: object, **how: Any) -> list[Any]:
    entries = read(stop_fd, *names, **how)
    assert all(isinstance(entry, Argument) for entry in entries), entries
    return [entry.item for entry in entries if isinstance(entry, Argument)]


def test_json_lines(tmp_path: Path, stop: tuple[int, int]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf1\n"a"\r\n\n  [1, 2]\n{"a": null}\n"\xc3\xbc"')
    assert items(stop[0], path) == [1, "a", [1, 2], {"a": None}, "ü"]
    assert [e.text for e in read(stop[0], path) if isinstance(e, Argument)] == [
        "1",
        '"a"',
        "[1, 2]",
        '{"a": null}',
        '"ü"',
    ]


def test_arrays_and_objects_may_be_spread(tmp_path: Path, stop: tuple[int, int]) -> None:
    (tmp_path / "arrays").write_text("[1, 2]\n[]\n")
    (tmp_path / "objects").write_text('{"a": 1}\n{}\n')
    assert items(stop[0], tmp_path / "arrays", spread=True) == [(1, 2), ()]
    assert items(stop[0], tmp_path / "objects", kwargs=True) == [((), {"a": 1}), ((), {})]
    assert [Source((), **how).form for how in ({}, {"spread": True}, {"kwargs": True})] == list(Form)


def test_plain_lines_are_taken_as_they_stand(tmp_path: Path, stop: tuple[int, int]) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a b\r\n\n  c\xff\nlast")
    assert items(stop[0], path, lines=True) == ["a b", "", "  c\udcff", "last"]


def test_csv_rows_are_dicts_by_the_header(tmp_path: Path, stop: tuple[int, int]) -> None:
    path = tmp_path / "x.CSV"
    path.write_bytes(b'\xef\xbb\xbfname,note\nAda,"two\nlines, ""quoted"""\n\nBob,\n')
    rows = [{"name": "Ada", "note": 'two\nlines, "quoted"'}, {"name": "Bob", "note": ""}]
    assert items(stop[0], path) == rows
    assert items(stop[0], path, kwargs=True) == [((), row) for row in rows]
    assert items(stop[0], path, spread=True) == [tuple(row.values()) for row in rows]


def test_paths_are_the_arguments(tmp_path: Path, stop: tuple[int, int]) -> None:
    for name in ("b.py", "a.py", "a.txt", "sub/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    everything = [str(tmp_path / name) for name in ("a.py", "a.txt", "b.py", "sub/c.py")]
    assert items(stop[0], "not there", tmp_path, paths=True) == ["not there", *everything]
    assert items(stop[0], tmp_path, paths=True, match="*.py") == [p for p in everything if p.endswith(".py")]


def test_several_files_follow_each_other(tmp_path: Path, stop: tuple[int, int]) -> None:
    (tmp_path / "a").write_text("1\n")
    (tmp_path / "b").write_text("2\n")
    assert items(stop[0], tmp_path / "a", tmp_path / "b") == [1, 2]


@pytest.mark.parametrize(
    ("name", "content", "how", "line", "reason"),
    [
        ("x", b"1\n{bad\n3\n", {}, 2, "not JSON: Expecting property name"),
        ("x", b"1\n\n'a'\n3\n", {}, 3, "not JSON: Expecting value at column 1; use --lines for plain text"),
        ("x", b"1\n\xff\n3\n", {}, 2, "not UTF-8: invalid start byte at byte 1"),
        ("x", b"1\n" + b"[" * 100_000 + b"\n3\n", {}, 2, "not JSON: nested too deeply"),
        ("x", b"[1]\n2\n[3]\n", {"spread": True}, 2, "--spread needs an array, not a number"),
        ("x", b'{}\n"s"\n{}\n', {"kwargs": True}, 2, "--kwargs needs an object, not a string"),
        ("x.csv", b"a,b\n1,2\n3\n4,5\n", {}, 3, "1 fields, the header has 2"),
    ],
)
def test_a_line_that_is_no_argument_is_told_and_the_next_is_read(
    tmp_path: Path, stop: tuple[int, int], name: str, content: bytes, how: dict[str, bool], line: int, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    before, wrong, after = read(stop[0], path, **how)
    assert isinstance(before, Argument)
    assert isinstance(after, Argument)
    assert isinstance(wrong, Unreadable)
    assert wrong.where == f"{path}, line {line}"
    assert wrong.reason.startswith(reason)


def test_a_csv_file_that_is_no_text_ends_there(tmp_path: Path, stop: tuple[int, int]) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a\n1\n\xff\n2\n")
    row, wrong = read(stop[0], path)
    assert isinstance(row, Argument)
    assert isinstance(wrong, Unreadable)
    assert wrong.where == f"{path}, line 3"


def test_a_file_that_went_away_is_told(tmp_path: Path, stop: tuple[int, int]) -> None:
    assert read(stop[0], tmp_path / "gone") == [Unreadable(str(tmp_path / "gone"), "No such file or directory")]


def test_a_slow_writer_is_waited_for_only_after_saying_so(tmp_path: Path, stop: tuple[int, int]) -> None:
    os.mkfifo(tmp_path / "pipe")
    waits: list[int] = []
    got: list[Argument | Unreadable] = []

    def consume() -> None:
        source = Source((str(tmp_path / "pipe"),))
        for entry in source.read(stop[0], lambda: waits.append(len(got))):
            got.append(entry)

    reader = threading.Thread(target=consume)
    reader.start()
    with open(tmp_path / "pipe", "wb", buffering=0) as writer:
        writer.write(b"1\n2\n")
        wait_until(lambda: 2 in waits, lambda: waits)
        os.write(stop[1], b"\0")
        reader.join(10.0)
    assert [entry.item for entry in got if isinstance(entry, Argument)] == [1, 2]
