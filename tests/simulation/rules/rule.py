"""What one rule of the protocol is here, how it is switched off, and how it is shown that something then fails.

Owns the record and the two ways to catch a mesh that breaks a rule: random schedules, and a directed scenario, which
has to pass with the rule and to fail without it. Nothing in the product knows of this: a rule is switched off by
putting a defective function in the place of the real one.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.simulation.schedules import ScheduleFailed, draw

Patch = tuple[Any, str, Any]
"""Where, which name, what instead."""
Scenario = Callable[[], object]


@dataclass(frozen=True)
class Rule:
    """One statement of docs/design/rules.md.

    `id` and `says` stand there as well. `off` tells how it is switched off, and `patches` returns that. `shown_by`
    raises where the rule is broken; None where random schedules show it.
    """

    id: str
    says: str
    off: str
    patches: Callable[[], tuple[Patch, ...]]
    shown_by: Scenario | None = None
    is_quick: bool = True
    """Whether it takes less than a second of processor time, and no real socket."""

    def switched_off(self) -> AbstractContextManager[None]:
        return patched(*self.patches())


@dataclass(frozen=True)
class Catch:
    """What became of a mesh without a rule: by which seeds, or by which scenario, it was caught, and what that said."""

    id: str
    seeds: tuple[int, ...] = ()
    played: int = 0
    failed: int = 0
    scenario: str = ""
    said: str = ""
    wrong: str = ""
    """Why it does not count as caught."""
    cpu_s: float = 0.0


@contextmanager
def patched(*patches: Patch) -> Iterator[None]:
    """Put other things in the places of the real ones for a while."""
    with ExitStack() as undo:
        for owner, name, instead in patches:
            undo.callback(setattr, owner, name, owner.__dict__[name])
            setattr(owner, name, instead)
        yield


def catch(rule: Rule, schedules: int, most_seeds: int) -> Catch:
    """Switch a rule off, and see whether that is noticed.

    Args:
        rule: any.
        schedules: at most so many random ones are played.
        most_seeds: so many that fail are enough; 0 plays all.
    """
    began = time.process_time()
    scenario = rule.shown_by
    found = _show(rule, scenario) if scenario else _play(rule, schedules, most_seeds)
    return Catch(**{**found, "id": rule.id, "cpu_s": round(time.process_time() - began, 2)})


def _play(rule: Rule, schedules: int, most_seeds: int) -> dict[str, Any]:
    seeds: list[int] = []
    said = wrong = ""
    played = 0
    with rule.switched_off():
        for seed in range(schedules):
            played += 1
            try:
                draw(seed).run()
            except ScheduleFailed as failed:
                cause = failed.__cause__ or failed
                said, wrong = said or _describe(cause), wrong or _not_caught(cause)
                seeds.append(seed)
                if len(seeds) == most_seeds:
                    break
    wrong = wrong or ("" if seeds else f"{schedules} schedules, and none missed it")
    return {"seeds": tuple(seeds[:3]), "played": played, "failed": len(seeds), "said": said, "wrong": wrong}


def _show(rule: Rule, scenario: Scenario) -> dict[str, Any]:
    named = {"scenario": scenario.__name__}
    try:
        scenario()
    except Exception as error:
        return {**named, "wrong": f"it fails with the rule as well: {_describe(error)}"}
    try:
        with rule.switched_off():
            scenario()
    except Exception as error:
        return {**named, "said": _describe(error), "wrong": _not_caught(error)}
    return {**named, "wrong": "it passes without the rule as well"}


def _not_caught(error: BaseException) -> str:
    """Say why an error is no catch: it is a defect of what was put in the place of the rule."""
    defect = isinstance(error, TypeError | AttributeError | NameError)
    return f"what switches it off is broken: {_describe(error)}" if defect else ""


def _describe(error: BaseException) -> str:
    """Return the first line of what it says, or the line that raised it."""
    text = str(error) or str(traceback.extract_tb(error.__traceback__)[-1].line)
    return f"{type(error).__name__}: {text.splitlines()[0]}"[:200]
