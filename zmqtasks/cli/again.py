"""`--only-failed`: what failed in a file of results is run again, and its success takes the place of the failure.

Owns which tasks these are, what their arguments were, and how the tasks of the new run are numbered in the file. The
inputs stand in the file, as `run` read them; what a standalone sink recorded has none, so there INPUT is read again.
Called by `start.py`, and by `job.py` in place of the input and of the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from zmqtasks.cli.exits import Exit, Refusal, count, say
from zmqtasks.cli.inputs import Argument, Source, Unreadable
from zmqtasks.machines.collection import Record
from zmqtasks.messages import JobId
from zmqtasks.records import replace
from zmqtasks.store import Store
from zmqtasks.wire.payload import Form


class Again:
    """The failed tasks of a file: the input of a run, and the store of its results.

    Args:
        store: the file, open; closed by `close`.
        path: its name, for people.
        function: name of the function; a job of another one is left alone.
        source: how INPUT was read; its names are needed only where the file has no inputs.
    """

    def __init__(self, store: Store, path: str, function: str, source: Source) -> None:
        self._store = store
        self._path = path
        self._source = source
        self._places: list[tuple[JobId, int]] = []
        """Of each task of this run: the job and the number it has in the file."""
        own, others = {}, 0
        for job in store.jobs():
            failed = store.recorded(job.id).failed
            if job.name in ("", function):
                own[job.id] = failed
            else:
                others += len(failed)
        if others:
            say(f"{count(others, 'failed task')} of other functions in {path} left as they are")
        self._failed = {job: set(failed) for job, failed in own.items() if failed}
        self._later = max((attempt for failed in own.values() for attempt, _ in failed.values()), default=0)
        """Attempts of this run are numbered on from those in the file, so that a new failure takes the place, too."""

    def __bool__(self) -> bool:
        return bool(self._failed)

    # In place of the input

    @property
    def form(self) -> Form:
        """Return what an item is to the function."""
        return self._source.form

    def read(self, stop_fd: int, on_wait: Callable[[], None]) -> Iterator[Argument | Unreadable]:
        """Yield the argument of each failed task; see `Source.read`."""
        for failure in self._store.failures():
            if failure.task not in self._failed.get(failure.job, ()):
                continue
            if failure.input is None:
                if not self._places and self._source.names:
                    yield from self._read_input(stop_fd, on_wait)
                else:
                    reason = "its input is not in the file; give the same INPUT again"
                    yield Unreadable(f"{self._path}, task {failure.task}", reason)
                return
            argument = self._argument(failure.input, failure.task)
            if isinstance(argument, Argument):
                self._places.append((failure.job, failure.task))
            yield argument

    def _argument(self, text: str, task: int) -> Argument | Unreadable:
        if self._source.lines or self._source.paths:
            return Argument(text, text)
        try:
            value = json.loads(text)
            if self._source.spread and isinstance(value, dict):  # a row of CSV, in the order of its columns
                value = list(value.values())
            return Argument(text, self._source.shape(value))
        except ValueError as error:
            reason = f"{error}; give the options that the first run was given, such as --lines"
            return Unreadable(f"{self._path}, input of task {task}", reason)

    def _read_input(self, stop_fd: int, on_wait: Callable[[], None]) -> Iterator[Argument | Unreadable]:
        """Yield of INPUT what failed: task number k is the k-th argument."""
        if len(self._failed) > 1:
            raise Refusal(
                Exit.USAGE, f"{self._path} has failures of several jobs and no inputs: they cannot be told apart"
            )
        ((job, failed),) = self._failed.items()
        last, task = max(failed), 0
        for entry in self._source.read(stop_fd, on_wait):
            if isinstance(entry, Unreadable):
                yield entry  # it had no number in the first run either
                continue
            if task in failed:
                self._places.append((job, task))
                yield entry
            task += 1
            if task > last:
                return
        missing = f"it ends before task {last}, which failed; give the INPUT that the first run was given"
        yield Unreadable("INPUT", missing)

    # In place of the store

    def number(self, task: int) -> int:
        """Return the number that a task of this run has in the file."""
        return self._places[task][1]

    def note_job(self, job: JobId, name: str, total: int | None = None) -> None:
        """Nothing to do: its tasks belong to jobs that are there."""

    def remember_inputs(self, job: JobId, start: int, inputs: Sequence[str]) -> None:
        """Keep the inputs of tasks of this run for their rows; see `Store.remember_inputs`."""
        for (origin, task), text in zip(self._places[start : start + len(inputs)], inputs, strict=True):
            self._store.remember_inputs(origin, task, [text])

    def record(self, records: Sequence[Record], on_stored: Callable[[], None]) -> None:
        """Store results under the numbers that the tasks have in the file; see `Store.record`."""
        self._store.record([part for record in records for part in self._parts(record)], on_stored)

    def _parts(self, record: Record) -> Iterator[Record]:
        """Yield a record as records of tasks that follow each other in the file, too."""
        indices = range(record.start, record.stop)
        follows = (self._places[b] == (self._places[a][0], self._places[a][1] + 1) for a, b in pairwise(indices))
        cuts = [record.start, *(b for b, joined in zip(indices[1:], follows, strict=True) if not joined), record.stop]
        for start, stop in pairwise(cuts):
            job, task = self._places[start]
            moved, outcome = task - start, record.outcome
            changes: dict[str, Any] = {"start": outcome.start + moved, "stop": outcome.stop + moved, "job": job}
            attempt = outcome.attempt + self._later
            yield Record(replace(outcome, attempt=attempt, **changes), start + moved, stop + moved)

    def close(self, timeout_s: float) -> None:
        """Store what was handed over, and close the file; see `Store.close`."""
        self._store.close(timeout_s)


def check(given: dict[str, Any]) -> None:
    """Refuse what makes no sense beside --only-failed.

    Raises:
        Refusal: there is no file to take the tasks from (2).
    """
    path = given["output"]
    if given.get("sink"):
        raise Refusal(Exit.USAGE, "--only-failed needs the file itself: end the sink, then use -o with its file")
    if path in (None, "-"):
        raise Refusal(Exit.USAGE, "--only-failed needs -o OUT: the file of results whose failures are run again")
    if given["append"] or given["overwrite"]:
        raise Refusal(Exit.USAGE, "--only-failed adds to OUT by itself: leave out --append and --overwrite")
    if not Path(path).exists():
        raise Refusal(Exit.USAGE, f"--only-failed: {path}: no such file")
