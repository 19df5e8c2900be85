"""Play schedules by hand: one with its story, or very many.

python -m tests.simulation.replay SEED
python -m tests.simulation.replay --from 0 --count 100000
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.simulation.schedules import ScheduleFailed, draw


def main() -> int:
    """Return the exit code: 1 where a schedule failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m tests.simulation.replay")
    parser.add_argument("seed", nargs="?", type=int, help="play this one, and tell its story")
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed (0)")
    parser.add_argument("--count", type=int, default=1000, help="how many seeds (1000)")
    wanted = parser.parse_args()
    logging.disable()  # the story has it all
    if wanted.seed is not None:
        return _tell(wanted.seed)
    return _play(range(wanted.first, wanted.first + wanted.count))


def _tell(seed: int) -> int:
    schedule = draw(seed)
    try:
        mesh = schedule.run(story=True)
    except ScheduleFailed as failed:
        print("\n".join(failed.mesh.story), failed.summary, sep="\n")
        return 1
    print("\n".join(mesh.story), schedule, "all is well", sep="\n")
    return 0


def _play(seeds: range) -> int:
    failed, began = [], time.perf_counter()
    for done, seed in enumerate(seeds, 1):
        try:
            draw(seed).run()
        except ScheduleFailed as failure:
            failed.append(seed)
            print(f"seed {seed}: {failure.summary.splitlines()[0][:300]}", flush=True)
        if done % 1000 == 0:
            print(f"{done} played, {len(failed)} failed, {time.perf_counter() - began:.0f} s", flush=True)
    print(f"{len(seeds)} schedules, {len(failed)} failed {failed[:20]}, {time.perf_counter() - began:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
