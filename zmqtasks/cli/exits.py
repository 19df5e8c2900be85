"""How a command ends: exit codes, and errors as one line.

Owns both for all commands; decides nothing. `app.py` turns what is raised here into the end of the process.
"""

from __future__ import annotations

from enum import IntEnum

import click

LONGEST_REASON = 300


class Exit(IntEnum):
    """Exit codes of the commands."""

    OK = 0
    FAILED = 1
    """A task or an input failed, or results could not be stored."""
    USAGE = 2
    """The command line, or the input, is wrong."""
    IMPORT = 3
    """The function cannot be imported."""
    CONNECT = 4
    """An address cannot be bound, or nobody can be reached."""
    INTERRUPTED = 130
    """128 + SIGINT, as shells have it."""
    READER_GONE = 141
    """128 + SIGPIPE: who read the results has left, as in `| head`."""


class Refusal(click.ClickException):
    """A command cannot do what was asked; the message says why, and what to do.

    Args:
        code: what the process exits with.
        message: a sentence without a full stop.
    """

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


def say(message: str) -> None:
    """Print a line for people on standard error."""
    click.echo(f"zmqtasks: {one_line(message)}", err=True)


def count(number: int, noun: str) -> str:
    """Return "1 task", or "1,000 tasks"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def brief(error: BaseException) -> str:
    """Say in a line what was raised."""
    return shortened(f"{type(error).__name__}: {error}")


def shortened(text: str) -> str:
    """Return `text` as one line that is not too long to be read."""
    line = one_line(text)
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}..."


def one_line(text: str) -> str:
    """Return `text` with its line ends and runs of blanks as single blanks."""
    return " ".join(text.split())
