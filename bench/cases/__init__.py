"""One file a question. See `cases.case`; this owns the list, by which `run.py` and `report.py` find them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.cases.case import Case

NAMES = (
    "submit", "mapping", "round_trip", "payloads", "balance",
    "kills", "deaths", "chaos", "orphans", "endless", "overruns", "leaks", "memory", "fresh", "recycling",
    "start", "shared", "nodes", "sizes", "journal", "backlog",
)  # fmt: skip


def load(name: str) -> Case:
    """Return the case of this name."""
    case: Case = import_module(f"bench.cases.{name}").CASE
    return case


def asked(words: tuple[str, ...]) -> list[Case]:
    """Return the cases that are meant by numbers and names, all where none is given.

    Raises:
        ValueError: there is no such case.
    """
    cases = [load(name) for name in NAMES]
    for word in words:
        if not any(word in (case.number, case.name) for case in cases):
            raise ValueError(f"no case {word!r}; there are {', '.join(f'{c.number} {c.name}' for c in cases)}")
    return [case for case in cases if not words or case.number in words or case.name in words]
