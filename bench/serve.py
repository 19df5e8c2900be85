"""The program that runs one peer: told cases and sizes over a pipe, it answers with figures.

    python -m bench.serve PEER

Owns the peer for as long as it runs, and the clock: time is taken here, after the workers are warm. A line of JSON
is a question or an answer. What the peer prints goes to standard error. Started by `asking.py`, once a peer, in the
environment that has it.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

from bench.cases import load
from bench.cases.case import Case
from bench.peers import KNOWN
from bench.peers.peer import Cannot, Demand, Peer, Runner


class Served:
    """A peer, and the workers it has ready for what is asked now."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._demand: Demand | None = None
        self._runner: Runner | None = None
        self._stack = ExitStack()

    def runner(self, demand: Demand | None) -> Runner | None:
        """Return the runner for a demand; what stands is kept where it is the same."""
        if demand != self._demand or demand is None:
            self.close()
        if demand is not None and self._runner is None:
            self._runner = self._stack.enter_context(self._peer.open(demand))
            self._demand = demand
        return self._runner

    def close(self) -> None:
        """End the workers."""
        self._runner = self._demand = None
        self._stack.close()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return what is answered to a question."""
        case: Case = load(question["case"])
        try:
            runner = self.runner(case.demand)
            if question.get("open"):
                return {"takes_chunks": bool(runner and runner.takes_chunks)}
            gc.collect()
            measured = self._peer if case.demand is None else runner
            return {"figures": case.measure(measured, question["variant"], question["size"], question["chunk"])}
        except Cannot as error:
            return {"cannot": f"has no {error}"}
        except Exception:
            self._stack = ExitStack()  # it may never end: the process is ended instead
            return {"error": traceback.format_exc()}


def about(peer: Peer) -> dict[str, Any]:
    """Return which interpreter and which versions these are."""
    versions = {}
    for package in peer.packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {"python": platform.python_version(), "versions": versions}


@contextmanager
def _pipes() -> Iterator[tuple[TextIO, TextIO]]:
    """Take standard input and output for ourselves; what the peer prints goes to standard error."""
    with os.fdopen(os.dup(0), "r") as questions, os.fdopen(os.dup(1), "w") as answers:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        yield questions, answers


def main() -> None:
    """Answer until nobody asks any more."""
    with _pipes() as (questions, answers):

        def tell(answer: dict[str, Any]) -> None:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()

        module, name = KNOWN[sys.argv[1]].place.split(".")
        peer: Peer = getattr(import_module(f"bench.peers.{module}"), name)
        tell(about(peer))
        served = Served(peer)
        for question in questions:
            tell(served.answer(json.loads(question)))
        served.close()


if __name__ == "__main__":
    main()
