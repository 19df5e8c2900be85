"""From the command lines of `run` and `ventilator` to a job: what contradicts itself is refused before anything starts.

Owns these checks and the order in which they are made: command line, function, output, mesh. Called by both commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import click

from zmqtasks.cli import options
from zmqtasks.cli.again import Again, check
from zmqtasks.cli.exits import Exit, Refusal, say
from zmqtasks.cli.functions import Function, load
from zmqtasks.cli.inputs import Source
from zmqtasks.cli.job import JobRun, Task
from zmqtasks.cli.output import is_terminal, open_results
from zmqtasks.cli.repeating import repeat
from zmqtasks.embedded.where import Where
from zmqtasks.machines.placement import objection, offer_of
from zmqtasks.options import NodeOptions
from zmqtasks.records import replace
from zmqtasks.waits import LEASE_S

OWN_NODE = (
    "workers",
    "max_tasks_per_worker",
    "max_waiting",
    "max_worker_age",
    "recycle_memory",
    "preload",
    "log_level",
)
OUTPUT = ("output", "append", "overwrite")


def run_here(given: dict[str, Any]) -> int:
    """Be `zmqtasks run`; return the exit code."""
    if given["every"] is None:
        return _run_once(given)
    _refuse_with(given, ("journal", "only_failed"), "a job that is run once; --every runs it anew each time")
    if not given["inputs"] or "-" in given["inputs"]:
        raise click.UsageError("--every reads INPUT each time: name files or paths, not standard input")
    later = given | {"append": True, "overwrite": False}
    return repeat(given["every"], lambda number: _run_once(later if number else given))


def _run_once(given: dict[str, Any]) -> int:
    """Run the job, on nodes that run already or on one that is started here."""
    source = _source(given)
    _check_output(given)
    if given["hosts"]:
        return _run_on_hosts(given, source)
    if given["nodes"]:
        _refuse_with(given, OWN_NODE, "a node that is started here; those of --node have their own")
        where = _where(given, tuple(given["nodes"]))
    else:
        _refuse_with(given, ("lease",), "nodes of --node; a node that is started here is ended with this program")
        if not given["bind"]:
            _refuse_with(given, ("ports", "advertise"), "what --bind says, or --node; a node of our own needs no port")
        own = {name: given[name] for name in OWN_NODE if given[name]}
        # What workers print goes to standard error: standard output is for results.
        where = Where(node=NodeOptions(**own), output="stderr", **(_door((), given) if given["bind"] else {}))
    return _run(given, source, where)


def _run_on_hosts(given: dict[str, Any], source: Source) -> int:
    """Be `zmqtasks run --hosts`."""
    from zmqtasks.cluster.cluster import Cluster

    if given["nodes"]:
        raise click.UsageError("--hosts and --node exclude each other")
    _refuse_with(given, ("bind", "advertise", "insecure", *OWN_NODE), "other nodes; say it in the file of hosts")
    with Cluster(given["hosts"]) as cluster:
        where = Where(source=cluster, connect_s=given["connect_timeout"], lease_s=given["lease"] or LEASE_S)
        return _run(given, source, where)


def run_on_nodes(given: dict[str, Any]) -> int:
    """Be `zmqtasks ventilator`; return the exit code."""
    source = _source(given)
    if given["sink"]:
        _refuse_with(given, OUTPUT, "results that are collected here; those of --sink are where the sink puts them")
    _check_output(given)
    return _run(given, source, _where(given, tuple(given["nodes"])))


def _run(given: dict[str, Any], source: Source, where: Where) -> int:
    function = load(given["function"], options.changed_options(given), given["folders"])
    if given["only_failed"]:
        _refuse_with(given, ("journal",), "all tasks of an input; --only-failed goes by what is in OUT")
        return _run_again(given, function, source, where)
    if not where.addresses and (why := objection(function.options, offer_of(where.node))):
        raise Refusal(
            Exit.CONNECT, f"the node that is started here cannot run {function.name}: {why}; name one that can"
        )
    shown = bool(where.sink) or not is_terminal(given["output"])
    has_door = bool(given["bind"])
    task = Task(function, source, given["keep_going"], shown, given["trace_id"], function.defaults, has_door)
    journal = given["journal"]
    if journal and not where.sink and given["output"] in (None, "-"):
        raise click.UsageError("--journal needs -o FILE: what went to standard output cannot be found again")
    job = JobRun(task)
    is_begun = journal is not None and os.path.exists(journal)
    return job.run(replace(where, journal=journal), None if where.sink else _open(given, function, job, is_begun))


def _run_again(given: dict[str, Any], function: Function, source: Source, where: Where) -> int:
    """Run again what failed in OUT."""
    job: JobRun | None = None

    def deliver(callback: Callable[[], None]) -> None:
        if job:
            job.deliver(callback)

    def store_failed(error: Exception) -> None:
        if job:
            job.store_failed(error)

    serializer = "msgpack" if function.options.serializer == "msgpack" else None
    store = open_results(
        given["output"], append=True, overwrite=False, serializer=serializer, deliver=deliver, on_failure=store_failed
    )
    again = Again(store, given["output"], function.name, source)
    if not again:
        store.close()
        say(f"nothing to do: no task of {function.name} has failed in {given['output']}")
        return Exit.OK
    job = JobRun(Task(function, again, given["keep_going"], trace_id=given["trace_id"], defaults=function.defaults))
    job.tally.number = again.number
    return job.run(where, again)


def _open(given: dict[str, Any], function: Function, job: JobRun, is_begun: bool) -> Any:
    """Open OUT; that of a journal that was begun holds results already."""
    return open_results(
        given["output"],
        append=given["append"] or is_begun,
        overwrite=given["overwrite"] and not is_begun,
        serializer="msgpack" if function.options.serializer == "msgpack" else None,
        deliver=job.deliver,
        on_failure=job.store_failed,
    )


def _source(given: dict[str, Any]) -> Source:
    source = Source(
        given["inputs"],
        **{name: given[name] for name in ("lines", "paths", "match", "spread", "kwargs")},
    )
    if given["only_failed"]:
        check(given)
    source.check(needed=not given["only_failed"])
    return source


def _where(given: dict[str, Any], nodes: tuple[str, ...]) -> Where:
    sink = given.get("sink")
    partners = [*nodes, *filter(None, [sink])]
    return Where(
        addresses=nodes,
        sink=sink,
        **_door(partners, given),
        connect_s=given["connect_timeout"],
        lease_s=given["lease"] or LEASE_S,
    )


def _door(partners: Sequence[str], given: dict[str, Any]) -> dict[str, Any]:
    """Return where this program listens, as fields of `Where`."""
    return {
        "bind": options.inbox_for(partners, given),
        "advertise": () if given["advertise"] is None else (given["advertise"],),
        "key": given["key"],
        "insecure": given["insecure"],
    }


def _check_output(given: dict[str, Any]) -> None:
    if given["append"] and given["overwrite"]:
        raise click.UsageError("--append and --overwrite exclude each other")


def _refuse_with(given: dict[str, Any], names: tuple[str, ...], what: str) -> None:
    if useless := [f"--{name.replace('_', '-')}" for name in names if given[name]]:
        raise click.UsageError(f"{' and '.join(useless)}: for {what}")
