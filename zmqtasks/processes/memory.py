"""How much memory is used of how much: by the workers together, and by the host or the part of it that is ours.

Owns what it found out about shared pages. Reads /proc and cgroups where there are any, psutil elsewhere. Decides
nothing; `workforce.py` asks for a node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from zmqtasks.options import KIB
from zmqtasks.processes import usage

CONFIRMED_S = 1.0
"""What was found out about a worker's shared pages holds for so long."""
CONFIRM_AT_ONCE = 4
"""So many workers are looked at closely in one go, at up to 10 ms each."""
SAMPLE = 100
"""Of a worker with far more processes than that, about so many are looked at closely."""
_CGROUP = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60
"""cgroup v1 tells a number near 2**63 where there is no limit."""


class MemoryUsage(NamedTuple):
    """What is used of how much, and by each worker with all it started."""

    used_bytes: int
    limit_bytes: int
    workers: dict[int, int]


class Room(NamedTuple):
    """What is used of how much."""

    used_bytes: int
    limit_bytes: int


class MemoryGauge:
    """Reads usage cheaply, and closely where it matters.

    Resident memory counts pages that workers share more than once. Above a threshold the largest workers are looked at
    closely, a few at a time, and the difference is taken off for a while.
    """

    def __init__(self) -> None:
        self._shared: dict[int, tuple[int, float]] = {}  # of each pid: bytes counted too much, and when that was found

    def read(
        self, workers: Mapping[int, list[int]], limit_bytes: int | None, threshold: float, now: float
    ) -> MemoryUsage:
        """Return what is used.

        Args:
            workers: of each slot, the process and others it has started that are no descendants any more.
            limit_bytes: what the workers may hold together; None for what this host has.
            threshold: part of the limit from which on shared pages count once.
            now: monotonic seconds.
        """
        resident = {slot: sum(map(usage.tree_rss_bytes, pids)) for slot, pids in workers.items()}
        pids = {slot: of[0] for slot, of in workers.items()}
        self._shared = {pid: known for pid, known in self._shared.items() if pid in pids.values()}
        held = self._estimate(resident, pids)
        room = Room(sum(held.values()), limit_bytes) if limit_bytes is not None else room_here()
        if room.used_bytes <= threshold * room.limit_bytes:
            return MemoryUsage(room.used_bytes, room.limit_bytes, held)
        for slot in self._suspects(held, pids, now):
            unique = _unique_bytes(workers[slot])
            self._shared[pids[slot]] = (max(0, resident[slot] - unique), now)
        held = self._estimate(resident, pids)
        used = sum(held.values()) if limit_bytes is not None else room.used_bytes
        return MemoryUsage(used, room.limit_bytes, held)

    def _estimate(self, resident: dict[int, int], pids: dict[int, int]) -> dict[int, int]:
        return {slot: max(0, held - self._shared.get(pids[slot], (0, 0.0))[0]) for slot, held in resident.items()}

    def _suspects(self, held: dict[int, int], pids: dict[int, int], now: float) -> list[int]:
        stale = [s for s in held if now - self._shared.get(pids[s], (0, float("-inf")))[1] > CONFIRMED_S]
        return sorted(stale, key=lambda slot: -held[slot])[:CONFIRM_AT_ONCE]


def _unique_bytes(pids: list[int]) -> int:
    """Return what the processes and their descendants hold, each page once; of very many, by a sample."""
    found = [one for pid in pids for one in usage.tree(pid)]
    sample = found[:: max(1, len(found) // SAMPLE)]
    return sum(map(usage.unique_bytes, sample)) * len(found) // max(1, len(sample))


def room_here() -> Room:
    """Return what is used of the memory of this host, or of our cgroup where that is fuller."""
    rooms = [_host(), *_cgroup2(), *_cgroup1()]
    return max(rooms, key=lambda room: room.used_bytes / room.limit_bytes)


def _host() -> Room:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        facts = {name: int(rest.split()[0]) * KIB for name, _, rest in (line.partition(":") for line in lines)}
        return Room(facts["MemTotal"] - facts["MemAvailable"], facts["MemTotal"])
    except (OSError, KeyError):
        import psutil

        memory = psutil.virtual_memory()
        return Room(memory.total - memory.available, memory.total)


def _cgroup2() -> Iterator[Room]:
    """Yield the limits on the way up from our group. Source: kernel docs, cgroup-v2, memory interface files."""
    yield from _limits("", _CGROUP, "memory.max", "memory.current", ("active_file", "inactive_file"))


def _cgroup1() -> Iterator[Room]:
    """Yield the limits on the way up from our group. Source: kernel docs, cgroup-v1/memory."""
    files = ("total_active_file", "total_inactive_file")
    yield from _limits("memory", _CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", files)


def _limits(controller: str, mount: Path, limit: str, used: str, cache: tuple[str, ...]) -> Iterator[Room]:
    for folder in _groups(controller, mount):
        try:
            most = (folder / limit).read_text().strip()
            if most == "max" or int(most) >= _NO_LIMIT:
                continue
            facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            # Pages of files are given back before anything is killed.
            reclaimable = sum(int(facts.get(name, 0)) for name in cache)
            yield Room(max(0, int((folder / used).read_text()) - reclaimable), max(1, int(most)))
        except (OSError, ValueError):  # no such controller here, or a root without limits
            continue


def _groups(controller: str, mount: Path) -> list[Path]:
    """Return our group and those above it; in a container, where their names mean nothing, the mount alone."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    is_ours: Callable[[str], bool] = lambda names: controller in names.split(",")  # noqa: E731
    own = next((path for _, names, path in (line.split(":", 2) for line in lines) if is_ours(names)), None)
    if own is None:
        return []
    folder = mount / own.lstrip("/")
    if not folder.is_dir():
        return [mount]
    return [folder, *(parent for parent in folder.parents if parent == mount or mount in parent.parents)]
