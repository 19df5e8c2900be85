"""`zmqtasks bench`: how fast a mesh is.

Owns the command line, the bars and the table. What is measured is in `observe/yardstick.py`. Imports the mesh only when
it runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from zmqtasks.cli import options
from zmqtasks.cli.exits import Exit, Refusal

if TYPE_CHECKING:
    from zmqtasks.client import Client
    from zmqtasks.observe.yardstick import Case, Measured

Step = Callable[["Case", float], None]


@click.command()
@click.argument("cases", nargs=-1, metavar="[CASE]...")
@click.option("--node", "nodes", multiple=True, type=options.WAY, help="Measure this running node; repeatable.")
@click.option("--workers", type=click.IntRange(1), help="Of the node that is started here; one a core by default.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Measure each case so often.")
@click.option(
    "--budget", type=options.SECONDS, default="0.5 s", show_default=True, help="About how long a repeat takes."
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each figure.")
@options.patience_options
@options.inbox_options
def bench(**given: Any) -> int:
    """Measure how fast a mesh is: a node that is started here, or those of --node.

    \b
    CASE is a number or a name; all by default:
      W1 submit      calls handed over one by one that do nothing
      W2 mapping     many calls at once that do nothing
      W3 round_trip  from a call to its result, one after the other
      W4 payloads    bytes of 64 KiB, 1 MiB, 64 MiB that come back as they went
      W5 balance     tasks that compute: share of what all workers could do at best

    \b
    Examples:
      zmqtasks bench
      zmqtasks bench W1 W3 --repeats 9
      zmqtasks bench --node 127.0.0.1:7700 --json > figures.jsonl

    Quote medians. Who else uses the mesh or its hosts meanwhile slows it down. Exit codes: 0 measured, 2 usage,
    4 cannot bind or connect, 130 interrupted.
    """
    from zmqtasks.observe.yardstick import asked, measure

    try:
        cases = asked(given["cases"])
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    found: list[Measured] = []
    with _client(given) as (client, workers), _bars(cases) as step:
        for case in cases:
            for line in measure(
                client,
                workers,
                case,
                given["repeats"],
                given["budget"],
                lambda done, case=case: step(case, done),  # type: ignore[misc]
            ):
                found.append(line)
                if given["as_json"]:
                    click.echo(json.dumps(line._asdict() | {"workers": workers}))
    if not given["as_json"]:
        _print_table(found)
    return Exit.OK


@contextmanager
def _client(given: dict[str, Any]) -> Iterator[tuple[Client, int]]:
    """Yield a client of the mesh that is meant, and how many workers it has."""
    from zmqtasks.client import Client
    from zmqtasks.options import NodeOptions

    nodes, own = given["nodes"], NodeOptions(workers=given["workers"])
    if not nodes:
        if given["bind"] or given["advertise"] or given["lease"]:
            raise click.UsageError(
                "--bind, --advertise and --lease: for nodes of --node; one started here needs no port"
            )
        with Client(workers=given["workers"]) as client:
            yield client, own.worker_count()
        return
    if given["workers"]:
        raise click.UsageError("--workers: for a node that is started here; those of --node have their own")
    inbox = options.inbox_for(nodes, given)
    workers = _workers_of(nodes, inbox, given)
    lease = {"lease": given["lease"]} if given["lease"] else {}
    with Client(
        *nodes,
        bind=inbox[0],
        advertise=given["advertise"],
        key=given["key"],
        insecure=given["insecure"],
        connect_timeout=given["connect_timeout"],
        **lease,
    ) as client:
        yield client, workers


def _workers_of(nodes: tuple[str, ...], inbox: tuple[str, ...], given: dict[str, Any]) -> int:
    """Return how many workers the nodes have together.

    Raises:
        Refusal: one does not answer, or has none.
    """
    from zmqtasks.cli.asking import ask
    from zmqtasks.place import Place

    advertise = () if given["advertise"] is None else (given["advertise"],)
    workers = 0
    for node, answer in ask(nodes, Place(inbox, advertise, key=given["key"]), given["connect_timeout"]).items():
        if isinstance(answer, str):
            raise Refusal(Exit.CONNECT, f"{node} {answer}")
        if not answer.load.workers:
            raise Refusal(Exit.CONNECT, f"{node} is a sink, not a node")
        workers += answer.load.workers
    return workers


@contextmanager
def _bars(cases: tuple[Case, ...]) -> Iterator[Step]:
    """Show a bar a case while this is entered, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda case, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[question]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars = {
            case.name: progress.add_task(f"{case.number} {case.name}", total=1.0, question=case.question)
            for case in cases
        }
        yield lambda case, done: progress.update(bars[case.name], completed=done)


def _print_table(found: list[Measured]) -> None:
    """Print aligned columns, numbers to the right; in a pipe the same as on a terminal."""
    rows: list[tuple[str, ...]] = [("case", "what", "median", "least", "most", "unit", "tasks")]
    rows += [
        (m.case, m.what, *(f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in m[3:6]), m.unit, f"{m.size:,}")
        for m in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    to_the_left = {0, 1, 5}
    for row in rows:
        cells = (
            f"{c:<{w}}" if n in to_the_left else f"{c:>{w}}" for n, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
