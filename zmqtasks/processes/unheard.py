"""Outcomes of tasks whose own calls never came home: their program died before it had taken them.

Owns what such an outcome becomes. Called by the workers when they are about to tell it.
"""

from __future__ import annotations

from collections.abc import Callable

from zmqtasks.errors import HomeLost
from zmqtasks.messages import JobId, Outcome, OutcomeKind
from zmqtasks.options import TaskOptions
from zmqtasks.records import replace
from zmqtasks.wire import payload

ENDS = (OutcomeKind.OK, OutcomeKind.ERROR, OutcomeKind.TOO_BIG)


def handed_back(outcomes: tuple[Outcome, ...], options_of: Callable[[JobId], TaskOptions]) -> tuple[Outcome, ...]:
    """Return the outcomes with which tasks are run again, and submit again; those that may not have failed."""
    return tuple(
        _handed_back(outcome, options_of(outcome.job)) if outcome.kind in ENDS else outcome for outcome in outcomes
    )


def _handed_back(outcome: Outcome, options: TaskOptions) -> Outcome:
    if options.retry:
        return replace(outcome, kind=OutcomeKind.RETURNED, body=b"")
    failure = payload.pack_failure(HomeLost(), serializer=options.serializer)
    return replace(outcome, kind=OutcomeKind.ERROR, body=failure)
