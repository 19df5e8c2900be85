"""`zmqtasks drain` and `zmqtasks stop`: let nodes end, wherever they are.

Owns the two command lines. The asking is done in `asking.py`. Imports the mesh only when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from zmqtasks.cli import options
from zmqtasks.cli.exits import Exit, say

F = TypeVar("F", bound=Callable[..., Any])


def _ending_options(command: F) -> F:
    """Add which nodes shall end, and what is waited for."""
    for decorate in (
        click.option("--node", "nodes", multiple=True, required=True, type=options.ADDRESS, help="Of it; repeatable."),
        click.option("--wait/--no-wait", default=True, help="Whether to wait until the nodes have ended; we do."),
        click.option(
            "--timeout", type=options.SECONDS, default="3 s", show_default=True, help="Wait so long for an answer."
        ),
        options.inbox_options,
    )[::-1]:
        command = decorate(command)
    return command


@click.command()
@click.option("--drain-timeout", type=options.SECONDS, help='What runs longer is stopped and handed back, too: "30 s".')
@_ending_options
def drain(drain_timeout: float | None, **given: Any) -> int:
    """Let nodes end when what they run has ended; what has not begun goes back, and runs elsewhere.

    They take nothing new from now on. What is handed back counts against no task, and keeps its order. Without
    --drain-timeout the bound that each node was started with holds, if it has one.

    \b
    Examples:
      zmqtasks drain --node 10.0.0.7:7700 --key mesh.key
      zmqtasks drain --node 127.0.0.1:7700 --node 127.0.0.1:7701 --drain-timeout "1 min"

    Exit code 4 where one did not answer.
    """
    return _end(drain_timeout, **given)


@click.command()
@_ending_options
def stop(**given: Any) -> int:
    """Let nodes end at once: what they run is stopped and handed back, like what has not begun.

    It runs again elsewhere, and that counts against no task; one that may run only once (retry=False) ends as TaskLost.

    \b
    Examples:
      zmqtasks stop --node 127.0.0.1:7700

    Exit code 4 where one did not answer.
    """
    return _end(0.0, **given)


def _end(within_s: float | None, nodes: tuple[str, ...], wait: bool, timeout: float, **inbox: Any) -> int:
    from zmqtasks.cli.asking import Ending, end
    from zmqtasks.place import Place

    advertise = () if inbox["advertise"] is None else (inbox["advertise"],)
    place = Place(options.inbox_for(nodes, inbox), advertise, key=inbox["key"])
    ending = Ending(within_s, wait, lambda node: say(f"{node} has ended"))
    answers = end(nodes, place, ending, timeout)
    failures = [f"{node} {answer}" for node, answer in answers.items() if isinstance(answer, str)]
    for line in failures:
        say(f"error: {line}")
    return Exit.CONNECT if failures else Exit.OK
