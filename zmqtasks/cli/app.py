"""The program `zmqtasks`: its commands, and the one place where a command ends.

Owns the group and its logging; does nothing itself. Called by `zmqtasks.cli.main`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import click

from zmqtasks import __version__
from zmqtasks.cli.bench import bench
from zmqtasks.cli.cluster import cluster
from zmqtasks.cli.drain import drain, stop
from zmqtasks.cli.exits import Exit, Refusal, say
from zmqtasks.cli.keygen import keygen
from zmqtasks.cli.queue import queue
from zmqtasks.cli.run import run
from zmqtasks.cli.sink import sink
from zmqtasks.cli.status import status
from zmqtasks.cli.ventilator import ventilator
from zmqtasks.cli.worker import worker
from zmqtasks.errors import HostsFileError, JournalError, KeyFileError, MeshError

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class Program(click.Group):
    """A group whose commands return their exit code, and whose errors are one line."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and exit, as `click.Group.main` does."""
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.UsageError as error:
            code = _complain(Exit.USAGE, error.format_message() + _hint(error))
        except Refusal as error:
            code = _complain(error.code, error.message)
        except (JournalError, KeyFileError, HostsFileError) as error:
            code = _complain(Exit.USAGE, str(error))
        except MeshError as error:
            code = _complain(Exit.CONNECT, str(error))
        except click.Abort:
            code = Exit.INTERRUPTED
        sys.exit(int(code or 0))


def _complain(code: int, message: str) -> int:
    say(f"error: {message}")
    return code


def _hint(error: click.UsageError) -> str:
    return f" (see: {error.ctx.command_path} --help)" if error.ctx else ""


class _Terminal(logging.Handler):
    """Log lines on whatever standard error is at the moment: a progress display replaces it for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, message="zmqtasks %(version)s")
@click.option("-v", "--verbose", count=True, help="Log sessions; twice: each message as well.")
def program(verbose: int) -> None:
    """Many calls of a Python function, on one machine or twenty, without a broker.

    \b
      zmqtasks run math:factorial numbers.jsonl -o results.db
      zmqtasks run package.module:function --paths pictures/ > results.jsonl

    \b
    The parts of that command as programs of their own, in three terminals:
      zmqtasks worker
      zmqtasks sink -o results.db
      zmqtasks ventilator math:factorial numbers.jsonl --node 127.0.0.1:7700 --sink 127.0.0.1:7710
    """
    handler = _Terminal()
    layout = "%(asctime)s %(name)s: %(message)s" if verbose else "zmqtasks: %(message)s"
    handler.setFormatter(logging.Formatter(layout))
    logging.basicConfig(level=LEVELS[min(verbose, 2)], handlers=[handler], force=True)


for _command in (run, worker, sink, ventilator, status, queue, drain, stop, cluster, keygen, bench):
    program.add_command(_command)
