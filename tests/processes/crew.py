"""A workforce on a loop of its own, and what a node would do with it, in a few words."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.waiting import wait_until_async
from zmqtasks.messages import Address, Chunk, Job, Outcome, OutcomeKind, SessionId, Tasks
from zmqtasks.options import Limits, TaskOptions
from zmqtasks.processes.events import WorkerEvent, WorkerExited, WorkerReady, WorkerSaid
from zmqtasks.processes.setup import Setup
from zmqtasks.processes.worker import Settings
from zmqtasks.processes.workforce import Workforce
from zmqtasks.wire import payload

NODE = "00000000c0ffee00"
HOST = "here"
E = TypeVar("E", bound=WorkerEvent)

_numbers = count(1)


def make_job(function: Callable[..., Any], **options: Any) -> Job:
    """Return a job of that function, whose sink is on this host."""
    settings = TaskOptions(**options)
    body = payload.pack_function(function, settings.serializer)
    return Job(f"client:{next(_numbers)}", function.__name__, Address("client", HOST, ("nowhere",)), settings, body)


def make_chunk(job: Job, items: Sequence[Any], form: payload.Form = payload.Form.ONE, start: int = 0) -> Chunk:
    """Return all items as one chunk, dispatched for the 7th time."""
    (run,) = payload.pack(items, form=form, serializer=job.options.serializer)
    assert run.body is not None
    return Chunk(job.id, 7, start, start + len(items), start, run.body)


def opened(outcomes: Sequence[Outcome]) -> dict[int, Any]:
    """Return the value or the exception of each task."""
    found: dict[int, Any] = {}
    for outcome in outcomes:
        if outcome.kind is OutcomeKind.OK:
            values = payload.unpack(outcome.body).values
            found |= dict(zip(range(outcome.start, outcome.stop), values, strict=True))
        else:
            found[outcome.start] = payload.unpack_failure(outcome.body, Limits())
    return found


class Crew:
    """A workforce, its loop and the events so far."""

    def __init__(self, slots: int = 2, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.events: list[WorkerEvent] = []
        own = {name: options.pop(name) for name in ("zygote", "recorder") if name in options}
        told: dict[str, Any] = {"node": NODE, "host": HOST, "limits": Limits(), "sys_path": sys.path}
        told |= {name: options.pop(name) for name in Settings._fields if name in options}
        try:
            settings = Settings(os.getpid(), 0, **told)
            self.force = Workforce(self.loop, Setup(slots, **options), settings, self.events.append, **own)
        except BaseException:
            self.loop.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.force.close()
        self.loop.close()
        self.events.clear()  # results may hold memory of workers

    def until(self, condition: Callable[[], Any], timeout_s: float = 40.0) -> Any:
        """Let the loop run until the condition holds; return what it gave."""
        wait = wait_until_async(condition, lambda: str(self.events[-5:])[:2000], timeout_s)
        return self.loop.run_until_complete(wait)

    def all(self, kind: type[E], slot: int = 0) -> list[E]:
        """Return the events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind) and event.slot == slot]

    def wait(self, kind: type[E], slot: int = 0) -> E:
        """Wait for an event of a kind, and return the last."""
        self.until(lambda: self.all(kind, slot))
        return self.all(kind, slot)[-1]

    def ready(self, slot: int = 0) -> int:
        """Start a worker, wait until it is ready, return its pid."""
        self.force.start(slot)
        self.wait(WorkerReady, slot)
        return self.force.pids()[slot]

    def give(
        self,
        function: Callable[..., Any],
        items: Sequence[Any],
        *,
        form: payload.Form = payload.Form.ONE,
        slot: int = 0,
    ) -> Chunk:
        """Send one chunk."""
        job = make_job(function)
        chunk = make_chunk(job, items, form)
        self.force.send(slot, Tasks(SessionId(0, 0), 0, (job,), (chunk,)))
        return chunk

    def said(self, chunk: Chunk, slot: int = 0) -> list[Outcome]:
        """Return the outcomes of a chunk so far."""
        outcomes = [outcome for event in self.all(WorkerSaid, slot) for outcome in event.outcomes]
        return [outcome for outcome in outcomes if outcome.job == chunk.job]

    def results(self, function: Callable[..., Any], items: Sequence[Any], **options: Any) -> dict[int, Any]:
        """Send one chunk, wait for all its outcomes, and return what they hold."""
        chunk = self.give(function, items, **options)
        slot = options.get("slot", 0)
        self.until(lambda: sum(o.stop - o.start for o in self.said(chunk, slot)) == len(items))
        return opened(self.said(chunk, slot))

    def exited(self, slot: int = 0) -> WorkerExited:
        """Wait for the end of a worker; forget what it said."""
        event = self.wait(WorkerExited, slot)
        self.events.clear()
        return event
