"""INPUT as arguments: JSON lines, plain lines, CSV or paths, one at a time.

Owns what a line means and what is wrong with one. Holds no more than the line it is at; calls no function and sends
nothing. Called by `job.py`.
"""

from __future__ import annotations

import csv
import fnmatch
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import click

from zmqtasks.cli.reading import STDIN_FD, open_bytes
from zmqtasks.records import Value
from zmqtasks.wire.payload import Form

STDIN = "-"
BOM = b"\xef\xbb\xbf"


class Argument(NamedTuple):
    """The argument of one task: as text, for people, and as the function gets it."""

    text: str
    item: Any


class Unreadable(NamedTuple):
    """A part of the input that is no argument."""

    where: str
    """File and line."""
    reason: str


class Source(Value):
    """What INPUT is.

    Args:
        names: files, "-" for standard input; none is standard input unless that is a terminal.
        lines: each line is an argument as it stands.
        paths: `names` are the arguments; "-" stands for the lines of standard input.
        match: with `paths`, which files of a folder.
        spread: an array is `*args`.
        kwargs: an object is `**kwargs`.
    """

    names: tuple[str, ...]
    lines: bool = False
    paths: bool = False
    match: str | None = None
    spread: bool = False
    kwargs: bool = False

    def check(self, *, needed: bool = True) -> None:
        """Raise click.UsageError where the options contradict each other, or a file is not there."""
        chosen = [f"--{name}" for name in ("lines", "paths") if getattr(self, name)]
        shaped = [f"--{name}" for name in ("spread", "kwargs") if getattr(self, name)]
        if len(chosen + shaped) > 1:
            raise click.UsageError(f"{' and '.join(chosen + shaped)} exclude each other")
        if self.match is not None and not self.paths:
            raise click.UsageError("--match chooses among files of a folder, and needs --paths")
        if needed and not self.names and os.isatty(STDIN_FD):
            raise click.UsageError("no INPUT: name a file, or - to type the input")
        for name in () if self.paths else self.names:
            if name != STDIN and (reason := _why_not_a_file(name)):
                raise click.UsageError(f"INPUT {name}: {reason}")

    @property
    def form(self) -> Form:
        """Return what an item is to the function."""
        return Form.MANY if self.spread else Form.CALL if self.kwargs else Form.ONE

    def read(self, stop_fd: int, on_wait: Callable[[], None]) -> Iterator[Argument | Unreadable]:
        """Yield each argument, in order; `stop_fd` and `on_wait` as in `reading.open_bytes`."""
        for name in self.names or (STDIN,):
            if self.paths and name != STDIN:
                yield from _paths(name, self.match)
                continue
            try:
                with closing(open_bytes(name, stop_fd, on_wait)) as file:
                    yield from self._parse(name, file)
            except OSError as error:
                yield Unreadable(_shown(name), error.strerror or str(error))

    def _parse(self, name: str, file: Iterator[bytes]) -> Iterator[Argument | Unreadable]:
        if self.paths:
            return (Argument(path, path) for line in file if (path := os.fsdecode(line.rstrip(b"\r\n"))))
        if self.lines:
            return _plain(file)
        if name.lower().endswith(".csv"):
            return self._rows(name, file)
        return _json(name, file, self.shape)

    def _rows(self, name: str, file: Iterator[bytes]) -> Iterator[Argument | Unreadable]:
        """Yield the rows of a CSV file after its header."""
        reader = csv.reader(_text(file))
        header: list[str] = []
        while True:
            try:
                row = next(reader, None)
            except (csv.Error, UnicodeDecodeError) as error:
                yield Unreadable(f"{name}, line {reader.line_num + 1}", f"no CSV: {error}")
                return  # where the next row begins cannot be told
            if row is None:
                return
            if not header:
                header = row
            elif len(row) == len(header):
                fields = dict(zip(header, row, strict=True))
                yield Argument(json.dumps(fields), self.shape(row if self.spread else fields))
            elif row:
                yield Unreadable(f"{name}, line {reader.line_num}", f"{len(row)} fields, the header has {len(header)}")

    def shape(self, value: Any) -> Any:
        """Return `value` as an item of `form`.

        Raises:
            ValueError: it has not the shape that was asked for.
        """
        if self.spread:
            if not isinstance(value, list):
                raise ValueError(f"--spread needs an array, not {_kind(value)}")
            return tuple(value)
        if self.kwargs:
            if not isinstance(value, dict):
                raise ValueError(f"--kwargs needs an object, not {_kind(value)}")
            return (), value
        return value


def _why_not_a_file(name: str) -> str:
    if os.path.isdir(name):
        return "it is a folder; with --paths, the files below it become arguments"
    if not os.path.exists(name):
        return "no such file"
    return "" if os.access(name, os.R_OK) else "permission denied"


def _shown(name: str) -> str:
    return "standard input" if name == STDIN else name


def _plain(file: Iterator[bytes]) -> Iterator[Argument]:
    for line in file:
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")
        yield Argument(text, text)


def _json(name: str, file: Iterator[bytes], shape: Callable[[Any], Any]) -> Iterator[Argument | Unreadable]:
    """Yield the values of JSON lines; empty lines are none."""
    for number, line in enumerate(file, 1):
        stripped = line.removeprefix(BOM).strip() if number == 1 else line.strip()
        if not stripped:
            continue
        try:
            text = stripped.decode()
            yield Argument(text, shape(json.loads(text)))
        except (ValueError, RecursionError) as error:
            yield Unreadable(f"{_shown(name)}, line {number}", _json_reason(error))


def _json_reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}; use --lines for plain text"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason} at byte {error.start + 1}"
    return str(error) if isinstance(error, ValueError) else "not JSON: nested too deeply"


def _text(file: Iterator[bytes]) -> Iterator[str]:
    """Yield lines as text with their ends, which may lie inside a quoted field."""
    for number, line in enumerate(file):
        yield (line.removeprefix(BOM) if number == 0 else line).decode()


def _paths(name: str, match: str | None) -> Iterator[Argument]:
    """Yield a path, or the files below a folder in the order of their names; links to folders are not followed."""
    if not os.path.isdir(name):
        yield Argument(name, name)
        return
    for folder, folders, files in os.walk(name):
        folders.sort()
        for file in sorted(files):
            if match is None or fnmatch.fnmatch(file, match):
                path = str(Path(folder, file))
                yield Argument(path, path)


def _kind(value: Any) -> str:
    names = {list: "an array", dict: "an object", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


csv.field_size_limit(sys.maxsize)
