"""`zmqtasks queue`: count, hold, drop or take out what waits in a program that hands out tasks.

Owns the command lines. The asking is done in `tending.py`. Imports the mesh only when it runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from zmqtasks.cli import options
from zmqtasks.cli.exits import Exit, say
from zmqtasks.cli.status import print_table

if TYPE_CHECKING:
    from zmqtasks.messages import Tended

F = TypeVar("F", bound=Callable[..., Any])


@click.group(no_args_is_help=True)
def queue() -> None:
    """Tend what waits in a program that hands out tasks, and that has an address.

    \b
      seq 1000000 | zmqtasks run package.module:convert --bind 127.0.0.1:7720 > results.jsonl
      zmqtasks queue length --ventilator 127.0.0.1:7720

    A client in a program of yours is asked there: client.queue().length(). From elsewhere too, where it has an address.
    """


def _queue_options(command: F) -> F:
    """Add whose queue it is, and which."""
    for decorate in (
        click.option(
            "--ventilator",
            "programs",
            multiple=True,
            required=True,
            type=options.ADDRESS,
            help="Of a run or a ventilator, as given there by --bind; repeatable.",
        ),
        click.option("--queue", "name", default="default", show_default=True, help="Name of the queue."),
        click.option(
            "--timeout", type=options.SECONDS, default="3 s", show_default=True, help="Wait so long for an answer."
        ),
        options.inbox_options,
    )[::-1]:
        command = decorate(command)
    return command


_as_json = click.option("--json", "as_json", is_flag=True, help="A line of JSON for each that answers.")


@queue.command()
@_queue_options
@_as_json
def length(**given: Any) -> int:
    """Tell how many tasks wait to be sent, how many for their time, and whether the queue is paused.

    What was read of INPUT counts, and what nodes have does not. Exit code 4 where one did not answer.

    \b
    Examples:
      zmqtasks queue length --ventilator 127.0.0.1:7720
      zmqtasks queue length --ventilator 10.0.0.5:7720 --queue mail --key mesh.key --json
    """
    return _tend("length", **given)


@queue.command()
@_queue_options
@_as_json
def purge(**given: Any) -> int:
    """Cancel what has not begun; each such task has the status "cancelled" in the results, and counts as failed.

    Nodes are asked for what they have and have not begun. What was not read of INPUT yet comes later. `taken` is how
    many waited in the program. Exit code 4 where one did not answer.

    \b
    Examples:
      zmqtasks queue purge --ventilator 127.0.0.1:7720
    """
    return _tend("purge", **given)


@queue.command()
@_queue_options
@_as_json
def pause(**given: Any) -> int:
    """Send nothing more until `resume`; what nodes have goes on. Exit code 4 where one did not answer.

    \b
    Examples:
      zmqtasks queue pause --ventilator 127.0.0.1:7720
    """
    return _tend("pause", **given)


@queue.command()
@_queue_options
@_as_json
def resume(**given: Any) -> int:
    """Go on after `pause`. Exit code 4 where one did not answer.

    \b
    Examples:
      zmqtasks queue resume --ventilator 127.0.0.1:7720
    """
    return _tend("resume", **given)


@queue.command()
@click.option("--most", type=click.IntRange(1), default=1, show_default=True, help="Take so many, at most.")
@_queue_options
def pull(**given: Any) -> int:
    """Take tasks out that were never sent, the first in line first, and write their arguments as lines of JSON.

    The lines may be the INPUT of another run. Here, the tasks end as after `purge`. What JSON cannot show stays, and so
    does what a node had before. Exit code 4 where one did not answer.

    \b
    Examples:
      zmqtasks queue pull --ventilator 127.0.0.1:7720 --most 1000 > rest.jsonl
    """
    return _tend("pull", **given)


def _tend(
    care: str,
    programs: tuple[str, ...],
    name: str,
    timeout: float,
    most: int = 0,
    as_json: bool = False,
    **inbox: Any,
) -> int:
    from zmqtasks.cli.tending import Wish, tend
    from zmqtasks.messages import QueueCare
    from zmqtasks.place import Place

    advertise = () if inbox["advertise"] is None else (inbox["advertise"],)
    place = Place(options.inbox_for(programs, inbox), advertise, key=inbox["key"])
    wish = Wish(QueueCare(care), name, most, lambda lines: click.echo(lines, nl=False))
    answers = tend(programs, place, wish, timeout)
    rows = [_row(program, name, told) for program, told in answers.items() if not isinstance(told, str)]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif care != "pull":
        print_table(rows)
    failures = [f"{program} {told}" for program, told in answers.items() if isinstance(told, str)]
    for line in failures:
        say(f"error: {line}")
    return Exit.CONNECT if failures else Exit.OK


def _row(program: str, name: str, told: Tended) -> dict[str, Any]:
    return {
        "address": program,
        "queue": name,
        "waiting": told.waiting,
        "delayed": told.delayed,
        "taken": told.taken,
        "paused": told.paused,
    }
