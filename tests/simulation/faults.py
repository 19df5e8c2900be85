"""The faults of a storm: what each kind does to a mesh, and when it counts as one that hit something.

Owns the table of kinds. A fault is data, so that a schedule can be told, counted and cut down. When it comes is drawn
in `storms.py`. Jumps of the clock are not among them: only monotonic time is ever looked at, here as in the product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.simulation.harness import SimMesh


class Fault(NamedTuple):
    """Something that befalls a mesh."""

    at_s: float
    kind: str
    one: str
    """The place it befalls, or the first of two."""
    other: str = ""
    lasts_s: float = 0.0
    """How long it lasts, or how long a process stays away that was killed."""
    number: int = 0
    """How many messages are lost."""
    share: float = 0.0
    """Of packets that are lost; of a slow disk, the seconds a batch takes."""
    flag: bool = False
    """Silently; over its results."""

    def befall(self, mesh: SimMesh) -> None:
        """Let it happen."""
        KINDS[self.kind](mesh, self)

    def __str__(self) -> str:
        said = [f"{name}={value:.6g}" for name, value in self._asdict().items() if name not in _NAMED and value]
        return f"{self.at_s:9.4f} {self.kind} {self.one} {self.other} {' '.join(said)}"


_NAMED = ("at_s", "kind", "one", "other")


def _once(mesh: SimMesh, kind: str) -> Callable[[], None]:
    """Return what counts a fault the first time it is called."""
    hit: list[str] = []

    def count() -> None:
        if not hit:
            hit.append(kind)
            mesh.hit(kind)

    return count


def _lost_run(mesh: SimMesh, fault: Fault) -> None:
    mesh.network.lose(fault.one, fault.other, fault.number, _once(mesh, fault.kind))


def _reset(mesh: SimMesh, fault: Fault) -> None:
    """A connection is reset while something is under way on it."""
    mesh.network.lose(fault.one, fault.other, 1, _once(mesh, fault.kind), breaks=True)


def _cut(mesh: SimMesh, fault: Fault) -> None:
    """All connections of two peers are reset, whatever is under way."""
    if mesh.network.reset(fault.one, fault.other):
        mesh.hit(fault.kind)


def _partition(mesh: SimMesh, fault: Fault) -> None:
    mesh.network.partition(fault.one, fault.other, both_ways=fault.kind == "partition")

    def heal() -> None:
        if mesh.network.heal(fault.one, fault.other):
            mesh.hit(fault.kind)

    mesh.clock.call_later(fault.lasts_s, heal)


def _packet_loss(mesh: SimMesh, fault: Fault) -> None:
    for source, target in ((fault.one, fault.other), (fault.other, fault.one)):
        mesh.network.weaken(source, target, fault.share, _once(mesh, fault.kind))
        mesh.clock.call_later(fault.lasts_s, mesh.network.weaken, source, target, 0.0)


def _stop(mesh: SimMesh, fault: Fault) -> None:
    mesh.stop(fault.one, fault.lasts_s, stalled=fault.kind == "stalled client", kind=fault.kind)


def _slow(mesh: SimMesh, fault: Fault) -> None:
    before = mesh.slow_down(fault.share)

    def end() -> None:
        if mesh.slow_down(mesh.layout.store_s) != before:
            mesh.hit(fault.kind)

    mesh.clock.call_later(fault.lasts_s, end)


def _full_disk(mesh: SimMesh, fault: Fault) -> None:
    before = mesh.fill_disk(full=True)

    def end() -> None:
        if mesh.fill_disk(full=False) != before:
            mesh.hit(fault.kind)

    mesh.clock.call_later(fault.lasts_s, end)


def _kill(mesh: SimMesh, fault: Fault) -> None:
    if mesh.kill(fault.one, silently=fault.flag):
        mesh.hit(fault.kind)
        mesh.clock.call_later(fault.lasts_s, mesh.restart, fault.one)


def _drain(mesh: SimMesh, fault: Fault) -> None:
    if not mesh.drain(fault.one):
        return
    mesh.hit(fault.kind)

    def start_again() -> None:
        if mesh.processes[fault.one].alive:
            mesh.clock.call_later(0.5, start_again)
        else:
            mesh.restart(fault.one)

    mesh.clock.call_later(fault.lasts_s, start_again)


def _crash(mesh: SimMesh, fault: Fault) -> None:
    if mesh.crash_worker(fault.one, packing=fault.flag):
        mesh.hit(fault.kind)


KINDS: dict[str, Callable[[SimMesh, Fault], None]] = {
    "lost run": _lost_run,
    "reset": _reset,
    "cut": _cut,
    "partition": _partition,
    "one-way partition": _partition,
    "packet loss": _packet_loss,
    "stop": _stop,
    "stalled client": _stop,
    "slow consumer": _slow,
    "full disk": _full_disk,
    "killed node": _kill,
    "killed sink": _kill,
    "killed ventilator": _kill,
    "drained node": _drain,
    "killed worker": _crash,
}
