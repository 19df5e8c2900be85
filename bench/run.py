"""The bench: peers side by side, in turn, on the same work; a line of JSON for each.

    python -m bench.run [--case W1 ...] [--variant NAME ...] [--peer NAME ...] [--repeats 5] [--quick] [--out FILE]

Each peer is a process of its own in the environment that has it, and is asked in turn, in an order that changes; time
is taken inside, with the workers warm. A peer that is not installed, or gives no answer, is skipped and named. Quote
medians and the ratios, which compare runs that stood next to each other. `python -m bench.report` makes tables and
charts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from bench import records
from bench.asking import Asked, Silent, adopt_orphans
from bench.cases import asked
from bench.cases.case import FUTURES, Case, times
from bench.peers import KNOWN

T = TypeVar("T")
REPEATS = 5
BUDGET_S = 0.5
QUICK_BUDGET_S = 0.05
MOST_GROWTH = 10
CHEAPER, FEW, LONG_S = 1.5, 10_000, 3.0
"""Fewer tasks than these are made more, unless that takes long, where their rate rises by this factor."""
SEARCH_SHARE = 0.3
"""Of that time, for a run of the search for the best chunk size."""


@dataclass(slots=True)
class Entry:
    """A peer in one variant of a case: what it is asked, and what it answered."""

    asked: Asked
    size: int
    chunk: int | None = None
    figures: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, case: Case, variant: str) -> dict[str, float]:
        """Ask for figures once, keeping none."""
        answer = self.asked.ask(case=case.name, variant=variant, size=self.size, chunk=self.chunk)
        if "cannot" in answer:
            raise Silent(answer["cannot"])
        figures: dict[str, float] = answer["figures"]
        return figures

    def keep(self, figures: dict[str, float]) -> None:
        """Note the figures of one repeat."""
        for figure, value in figures.items():
            self.figures.setdefault(figure, []).append(value)


class Bench:
    """One run of the bench.

    Args:
        repeats: how often each peer is asked.
        budget_s: how long one answer should take, where the size of the work is free.
        peers: who may be asked.
        variants: of the cases; all where none is named.
        quick: ask for those variants only that do not take long.
    """

    def __init__(
        self,
        repeats: int,
        budget_s: float,
        peers: tuple[str, ...],
        variants: tuple[str, ...] = (),
        *,
        quick: bool = False,
    ) -> None:
        self.repeats = repeats
        self.skipped: dict[str, str] = {}
        self._budget_s = budget_s
        self._peers = peers
        self._variants = variants
        self._quick = quick
        self._id = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"

    def run(self, case: Case) -> Iterator[dict[str, Any]]:
        """Measure a case, and yield the record of each variant and peer."""
        asked_for = self._variants or (case.quick if self._quick else case.variants)
        variants = [variant for variant in case.variants if variant in asked_for]
        with ExitStack() as stack:
            wanted = case.peers if variants else ()
            open_peers = [peer for name in wanted if (peer := self._open(case, name, stack))]
            for variant in variants:
                yield from self._variant(case, variant, open_peers)

    def _open(self, case: Case, name: str, stack: ExitStack) -> Asked | None:
        if name not in self._peers:
            return None
        known = KNOWN[name]
        python = known.python()
        if python is None or (known.program and not shutil.which(known.program)):
            self._skip(case, name, f"not installed; try: make bench-peers PEER={known.module}")
            return None
        try:
            peer = Asked(python, name)
            stack.callback(peer.close)
            peer.open(case.name)
        except Silent as error:
            self._skip(case, name, str(error))
            return None
        return peer

    def _skip(self, case: Case, name: str, why: str) -> None:
        self.skipped[f"{case.name}, {name}"] = why
        print(f"bench: {case.name}: {name} is skipped: {why}", file=sys.stderr, flush=True)

    def _variant(self, case: Case, variant: str, peers: list[Asked]) -> Iterator[dict[str, Any]]:
        entries: dict[str, Entry] = {}
        for peer in list(peers):
            if entry := self._tried(case, peer, peers, partial(self._prepared, case, variant, peer)):
                entries[peer.peer] = entry
        for repeat in range(min(self.repeats, case.repeats)):
            order = list(entries.items())
            for name, entry in order if repeat % 2 else reversed(order):
                figures = self._tried(case, entry.asked, peers, partial(entry.measure, case, variant))
                if figures is None:
                    del entries[name]
                else:
                    entry.keep(figures)
        compared = entries.get(FUTURES)
        for name, entry in entries.items():
            yield self._record(case, variant, name, entry, compared)

    def _tried(self, case: Case, peer: Asked, peers: list[Asked], ask: Callable[[], T]) -> T | None:
        """Return what is answered; None where there is no answer: then this peer leaves the case."""
        try:
            return ask()
        except Silent as error:
            self._skip(case, peer.peer, str(error))
            peers.remove(peer)
            peer.close()
            return None

    def _prepared(self, case: Case, variant: str, peer: Asked) -> Entry:
        """Warm a peer up; find the size that takes it the time given, and the chunk size that suits it best."""
        entry = Entry(peer, case.size_of(variant)[0])
        if case.chunks and peer.takes_chunks:
            entry.chunk = case.chunks[0]
            self._size(case, variant, entry, SEARCH_SHARE)
            entry.chunk = self._best_chunk(case, variant, entry)
        self._size(case, variant, entry)
        return entry

    def _size(self, case: Case, variant: str, entry: Entry, share: float = 1.0) -> None:
        """Let the work grow until it takes a share of the time given; further where that makes tasks cheaper.

        It does where a peer takes its time before the first task, whatever comes after: then that is not what is asked.
        """
        least, most = case.size_of(variant)
        size, rate = least, 0.0
        while least < most:
            seconds = entry.measure(case, variant)["seconds"]
            growth = min(MOST_GROWTH, share * self._budget_s / max(seconds, 1e-9))
            if growth < 2:
                if entry.size / seconds < CHEAPER * rate:  # the last step was in vain
                    entry.size = size
                    return
                if case.less_is_better or entry.size >= FEW or seconds > LONG_S:
                    return
                size, rate, growth = entry.size, entry.size / seconds, MOST_GROWTH / 2
            entry.size = max(least, min(most, int(entry.size * growth)))
            if entry.size == most:
                return

    def _best_chunk(self, case: Case, variant: str, entry: Entry) -> int:
        """Try each chunk size twice, and return the fastest."""
        tried: dict[int, float] = {}
        for chunk in case.chunks:
            entry.chunk = chunk
            self._size(case, variant, entry, SEARCH_SHARE)
            rates = [entry.measure(case, variant)[case.figure] for _ in range(2)]
            tried[chunk] = -min(rates) if case.less_is_better else max(rates)
        return max(tried, key=lambda chunk: tried[chunk])

    def _record(self, case: Case, variant: str, name: str, entry: Entry, compared: Entry | None) -> dict[str, Any]:
        ours = entry.figures[case.figure]
        ratio = times(ours, compared.figures[case.figure]) if compared and compared is not entry else None
        if ratio and case.less_is_better:
            ratio = [1 / value for value in ratio]
        return {
            "case": case.name,
            "variant": variant,
            "peer": name,
            "figure": case.figure,
            **records.spread(ours),
            "times_as_fast_as_concurrent_futures": records.spread(ratio) if ratio else None,
            "repeats": len(ours),
            "size": entry.size,
            "chunk": entry.chunk,
            "figures": {figure: [records.significant(v) for v in values] for figure, values in entry.figures.items()},
            **entry.asked.about,
            **records.surroundings(),
            "run": self._id,
        }


def line(record: dict[str, Any]) -> str:
    """Return a record as a line for people."""
    ratio = record["times_as_fast_as_concurrent_futures"]
    name = " ".join(filter(None, (record["case"], record["variant"])))
    return (
        f"{name:24} {record['peer']:26} {record['median']:>12,.6g} ({record['least']:,.6g} to {record['most']:,.6g})"
        f" {record['figure']}" + (f", {ratio['median']:.3g} x concurrent.futures" if ratio else "")
    )


def parsed(words: list[str] | None) -> argparse.Namespace:
    """Return what is asked for on the command line."""
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", action="append", default=[], metavar="CASE", help="number or name; repeatable")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME", help=f"repeatable; of {'; '.join(KNOWN)}; default: all"
    )
    parser.add_argument("--variant", action="append", default=[], metavar="NAME", help="of a case; repeatable")
    parser.add_argument("--repeats", type=int, default=None, help=f"default: {REPEATS}")
    parser.add_argument("--budget", type=float, default=None, help="seconds one answer may take, where that is free")
    parser.add_argument(
        "--quick", action="store_true", help="one repeat of small work, no peers of other environments: does it run"
    )
    parser.add_argument("--out", default=None, help="append the records to this file")
    given = parser.parse_args(words)
    if unknown := set(given.peer) - set(KNOWN):
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {'; '.join(KNOWN)}")
    try:
        given.cases = asked(tuple(given.case))
    except ValueError as error:
        parser.error(str(error))
    return given


def main(words: list[str] | None = None) -> int:
    """Measure, print a line each, and append the records to a file."""
    given = parsed(words)
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    repeats = given.repeats or (1 if given.quick else REPEATS)
    budget_s = given.budget or (QUICK_BUDGET_S if given.quick else BUDGET_S)
    everybody = [name for name, known in KNOWN.items() if not (given.quick and known.requires)]
    bench = Bench(repeats, budget_s, tuple(given.peer or everybody), tuple(given.variant), quick=given.quick)
    for case in given.cases:
        for record in bench.run(case):
            print(line(record), flush=True)
            if given.out:
                records.append(given.out, [record])
    return 0


if __name__ == "__main__":
    sys.exit(main())
