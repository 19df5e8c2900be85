"""What misbehaving tasks cost: zmqtasks beside its peers, interleaved in one process tree.

    python -m bench.harm [CASE ...] [--repeats 7] [--out bench/results/harm-DATE.jsonl]

Each repeat runs every peer of a case once, one after the other, and checks each answer. `work_s` is the time from the
first call to the last answer with the workers warm; `open_s` and `close_s` are start-up and end of client or pool;
`cpu_s` is the processor time of all processes together, which tells more than the rest on a machine that is busy.
Quote the median of the ratios, which compare runs that stood next to each other.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from importlib.metadata import version
from typing import Any

from bench.cases import chaos, deaths, endless, fresh, kills
from bench.cases.case import Case
from bench.peers.peer import WORKERS, Hung, Peer

CASES = {case.name: case for case in (kills.CASE, deaths.CASE, endless.CASE, fresh.CASE, chaos.CASE)}
Times = dict[str, list[float]]


def measure_once(case: Case, peer: Peer) -> dict[str, float]:
    """Run the work of a case with a peer, check its answers, and return seconds."""
    gc.collect()
    begun, used = time.perf_counter(), cpu_s()
    with peer.open(case.work) as run:
        opened = time.perf_counter()
        answers = run(case.work)
        ended = time.perf_counter()
    closed = time.perf_counter()
    used = cpu_s() - used
    case.check(answers)
    times = {"open_s": opened - begun, "work_s": ended - opened, "close_s": closed - ended, "all_s": closed - begun}
    return {**times, "cpu_s": used, **peer.observations()}


def cpu_s() -> float:
    """Return the processor time of this process and of all that came from it and has ended."""
    return sum(os.times()[:4])


def measure(case: Case, repeats: int) -> dict[str, Times]:
    """Return the times of each peer, a figure a repeat."""
    times: dict[str, Times] = {peer.name: {} for peer in case.peers}
    for _ in range(repeats):
        for peer in case.peers:
            hung = 0.0
            while (figures := attempt(case, peer)) is None:
                hung += 1
            for name, seconds in {**figures, "hung": hung}.items():
                times[peer.name].setdefault(name, []).append(seconds)
    return times


def attempt(case: Case, peer: Peer) -> dict[str, float] | None:
    """Measure once; None where the peer hung, which says something of the peer and nothing of its speed."""
    try:
        return measure_once(case, peer)
    except Hung:
        return None


def spread(values: list[float]) -> dict[str, float]:
    """Return median, least and most."""
    return {
        "median": round(statistics.median(values), 4),
        "least": round(min(values), 4),
        "most": round(max(values), 4),
    }


def surroundings(packages: set[str]) -> dict[str, Any]:
    """Return where and when this is measured."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "workers": WORKERS,
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in sorted(packages)},
        "system": f"{platform.system()} {platform.machine()}",
    }


def record(case: Case, times: dict[str, Times]) -> dict[str, Any]:
    """Return one record: medians, spread, ratios to the first peer, and where they were measured."""
    ours = times[case.peers[0].name]
    ratios = {
        peer.name: {
            name: spread([a / b for a, b in zip(ours[name], times[peer.name][name], strict=True)])
            for name in ("work_s", "all_s", "cpu_s")
        }
        for peer in case.peers[1:]
    }
    figures = {name: {what: spread(values) for what, values in kinds.items()} for name, kinds in times.items()}
    bar = None
    if case.bar:
        bar = {"theirs": case.bar.theirs, "share": case.bar.share}
        bar["reached"] = ratios[case.bar.theirs]["work_s"]["median"] <= case.bar.share
    where = surroundings({package for peer in case.peers for package in peer.packages})
    return {
        "case": case.name,
        "tasks": len(case.work.arguments),
        "repeats": len(ours["work_s"]),
        "seconds": figures,
        "ratio_to": ratios,
        "bar": bar,
        **where,
    }


def table(record: dict[str, Any], question: str) -> str:
    """Return a record as a Markdown table."""
    lines = [f"{question} (medians of {record['repeats']}; least to most)", ""]
    lines += ["| | start | work | end | processor | our time / theirs |", "|---|---|---|---|---|---|"]
    for name, kinds in record["seconds"].items():
        cells = [f"{kinds[k]['median']:.3f} s" for k in ("open_s", "work_s", "close_s", "cpu_s")]
        cells[1] += f" ({kinds['work_s']['least']:.3f}-{kinds['work_s']['most']:.3f})"
        ratio = record["ratio_to"].get(name)
        if kinds["hung"]["most"]:
            cells[1] += f", hung up to {kinds['hung']['most']:.0f} times before"
        last = f"{ratio['work_s']['median']:.2f}; with start and end {ratio['all_s']['median']:.2f}" if ratio else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {last} |")
    for name, kinds in record["seconds"].items():
        lines += [f"\n{name}: {line}" for line in recovery(kinds)]
    if record["bar"]:
        reached = "reached" if record["bar"]["reached"] else "missed"
        lines += ["", f"Asked for: at most {record['bar']['share']:g} of {record['bar']['theirs']}: {reached}."]
    return "\n".join(lines) + "\n"


def recovery(kinds: dict[str, dict[str, float]]) -> list[str]:
    """Return how long workers were missing, a line a way of counting; nothing where that was not observed."""
    lines = []
    for what in ("served", "ready"):
        if f"{what}_number" in kinds:
            median, p99, most = (kinds[f"{what}_ms_{which}"]["median"] for which in ("median", "p99", "most"))
            number = kinds[f"{what}_number"]["median"]
            lines.append(
                f"{what} again {median:.2f} ms after a death, p99 {p99:.2f}, at most {most:.2f} ({number:.0f})"
            )
    return lines


def main() -> None:
    """Measure, print tables, and append the records to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cases", nargs="*", default=[], metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", default=None, help="append the records to this file")
    arguments = parser.parse_args()
    for name in arguments.cases or CASES:
        case = CASES[name]
        made = record(case, measure(case, arguments.repeats))
        if arguments.out:
            with open(arguments.out, "a") as file:
                file.write(json.dumps(made) + "\n")
        print(table(made, case.question), flush=True)


if __name__ == "__main__":
    main()
