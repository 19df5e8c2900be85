"""Which scenarios there are, and how much of each is run when nothing is said.

Owns the table alone: a scenario is imported when it is run. A scenario is counted in faults (`times`) or lasts for
`seconds`; the other is None.
"""

from __future__ import annotations

from zmqtasks.records import Value


class Amount(Value):
    """How much of a scenario is run: so many faults, or so many seconds."""

    times: int | None = None
    seconds: float | None = None


class Scenario(Value):
    """What `python -m tests.mesh.chaos` can run.

    Args:
        module: in this package; it has `run(frame)`.
        what: one line for people.
        quick: what the checks of each commit run.
        full: what the figures in docs/reliability.md stand on.
    """

    module: str
    what: str
    quick: Amount
    full: Amount


SCENARIOS: dict[str, Scenario] = {
    "node": Scenario("node", "kill -9 of nodes under tasks of 1 ms", Amount(times=10), Amount(times=200)),
    "ventilator": Scenario(
        "ventilator", "kill -9 of a ventilator or client with a journal", Amount(times=5), Amount(times=100)
    ),
    "sink": Scenario("sink", "kill -9 of the sink, and one that stays away", Amount(times=5), Amount(times=100)),
    "disk": Scenario("disk", "a full disk, a read-only one, a locked database", Amount(times=1), Amount(times=10)),
    "stop": Scenario("stop", "SIGSTOP of any role for 5 to 30 s", Amount(times=3), Amount(times=40)),
    "blame": Scenario("blame", "a task that kills its nodes", Amount(times=1), Amount(times=20)),
    "once": Scenario("once", "tasks at most once under kills, stops and cancels", Amount(times=3), Amount(times=80)),
    "gil": Scenario("gil", "a client that holds the interpreter's lock for 20 s", Amount(times=1), Amount(times=5)),
    "storm": Scenario("storm", "one fault a second on all roles", Amount(seconds=60), Amount(seconds=1800)),
    "partition": Scenario("partition", "broken ways between hosts", Amount(times=4), Amount(times=100)),
    "clock": Scenario("clock", "clocks that jump by a day", Amount(times=2), Amount(times=6)),
    "narrow": Scenario("narrow", "a full link of 50 Mbit/s", Amount(seconds=8), Amount(seconds=60)),
    "frames": Scenario(
        "frames",
        "malformed frames to the decoder and to live inboxes",
        Amount(times=100_000),
        Amount(times=5_000_000),
    ),
    "strangers": Scenario(
        "strangers",
        "silent and malformed connections, endless messages and claims at doors with a key",
        Amount(times=3_000),
        Amount(times=60_000),
    ),
    "pressure": Scenario(
        "pressure",
        "stopped sinks, slow consumers, producers that run far ahead",
        Amount(seconds=4),
        Amount(seconds=30),
    ),
}
