"""Switch off each rule in turn, and print what catches it.

python -m tests.simulation.rules [ID ...] [--full] [--out FILE]
python -m tests.simulation.rules --page
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.simulation.rules import RULES
from tests.simulation.rules.rule import Catch, catch

QUICK_SCHEDULES = 300
FULL_SCHEDULES = 1000


def main() -> int:
    """Return the exit code: 1 where nothing catches a rule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m tests.simulation.rules")
    parser.add_argument("ids", nargs="*", metavar="ID", help="of rules: 2d, or 2 for all that begin so; all if none")
    parser.add_argument("--full", action="store_true", help=f"play {FULL_SCHEDULES} schedules for each, and count")
    parser.add_argument("--processes", type=int, default=2, help="how many processes (2)")
    parser.add_argument("--page", action="store_true", help="print the tables of docs/design/rules.md, and do nothing")
    parser.add_argument("--out", metavar="FILE", help="append the record, a line of JSON, to this file")
    wanted = parser.parse_args()
    if wanted.page:
        return _print_page()
    ids = [rule.id for rule in RULES if not wanted.ids or rule.id.startswith(tuple(wanted.ids))]
    began = time.perf_counter()
    catches = _catch_all(ids, wanted.processes, full=wanted.full)
    seconds = time.perf_counter() - began
    missed = [id_ for id_ in ids if catches[id_].wrong]
    _print_table(catches)
    record = {
        "scenario": "rules", "full": wanted.full, "rules": len(ids), "missed": missed, "seconds": round(seconds, 1),
        "cpu_s": round(sum(found.cpu_s for found in catches.values()), 1),
        "ok": not missed, "caught": {id_: _by(found) for id_, found in catches.items()},
    }  # fmt: skip
    line = json.dumps(record)
    print(line)
    if wanted.out:
        with open(wanted.out, "a") as file:
            file.write(line + "\n")
    return 1 if missed or not ids else 0


def _catch_all(ids: list[str], processes: int, *, full: bool) -> dict[str, Catch]:
    schedules, most = (FULL_SCHEDULES, 0) if full else (QUICK_SCHEDULES, 1)
    catches: dict[str, Catch] = {}
    with ProcessPoolExecutor(processes, initializer=logging.disable) as pool:
        pending = [pool.submit(_catch, id_, schedules, most) for id_ in ids]
        for future in as_completed(pending):
            found = future.result()
            catches[found.id] = found
            print(f"{len(catches)}/{len(ids)} {found.id} {found.cpu_s:.1f} s: {found.wrong or found.said}", flush=True)
    return {id_: catches[id_] for id_ in ids}


def _catch(id_: str, schedules: int, most: int) -> Catch:
    return catch(next(rule for rule in RULES if rule.id == id_), schedules, most)


def _by(found: Catch) -> str:
    if found.wrong:
        return f"NOBODY: {found.wrong}"
    if found.scenario:
        return found.scenario
    seeds = ", ".join(map(str, found.seeds))
    return f"seed {seeds} ({found.failed} of {found.played})"


def _print_table(catches: dict[str, Catch]) -> None:
    print(f"\n{'rule':4} {'what it says':82} {'switched off':52} caught by")
    for rule in RULES:
        if rule.id in catches:
            print(f"{rule.id:4} {rule.says:82} {rule.off:52} {_by(catches[rule.id])}")
    print()


def _print_page() -> int:
    for rule in RULES:
        shown_by = f"`{rule.shown_by.__name__}`" if rule.shown_by else "random schedules"
        print(f"| {rule.id} | {rule.says} | {rule.off} | {shown_by} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
