"""Play one schedule or storm by hand, and tell its story; or leave out all of it that a failure does not need.

python -m tests.simulation.replay SEED [--storm] [--shrink]
python -m tests.simulation.replay --from 0 --count 100000 [--storm]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.simulation.schedules import Schedule, ScheduleFailed, draw
from tests.simulation.shrinking import shrink
from tests.simulation.storms import Storm, draw_storm


def main() -> int:
    """Return the exit code: 1 where a schedule failed."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], prog="python -m tests.simulation.replay"
    )
    parser.add_argument("seed", nargs="?", type=int, help="play this one, and tell its story")
    parser.add_argument("--storm", action="store_true", help="a storm of minutes, not a schedule of seconds")
    parser.add_argument("--shrink", action="store_true", help="leave out faults and jobs while it still fails")
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed (0)")
    parser.add_argument("--count", type=int, default=1000, help="how many seeds (1000)")
    wanted = parser.parse_args()
    logging.disable()  # the story has it all
    if wanted.seed is None:
        return _play(range(wanted.first, wanted.first + wanted.count), storm=wanted.storm)
    drawn = _draw(wanted.seed, storm=wanted.storm)
    return _tell(shrink(drawn, tell=_progress) if wanted.shrink else drawn)


def _draw(seed: int, *, storm: bool) -> Schedule | Storm:
    return draw_storm(seed) if storm else draw(seed)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _tell(drawn: Schedule | Storm) -> int:
    try:
        mesh = drawn.run(story=True)
    except ScheduleFailed as failed:
        print("\n".join(failed.mesh.story), failed.summary, sep="\n")
        return 1
    print("\n".join(mesh.story), drawn, "all is well", sep="\n")
    return 0


def _play(seeds: range, *, storm: bool) -> int:
    failed, began = [], time.perf_counter()
    for done, seed in enumerate(seeds, 1):
        try:
            _draw(seed, storm=storm).run()
        except ScheduleFailed as failure:
            failed.append(seed)
            print(f"seed {seed}: {failure.summary.splitlines()[0][:300]}", flush=True)
        if done % 1000 == 0:
            print(f"{done} played, {len(failed)} failed, {time.perf_counter() - began:.0f} s", flush=True)
    print(f"{len(seeds)} schedules, {len(failed)} failed {failed[:20]}, {time.perf_counter() - began:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
