"""Each rule of the protocol, switched off, and what then fails: tests of the tests.

    python -m tests.simulation.rules            each once; exit code 1 where a rule is missed by nobody
    python -m tests.simulation.rules --full     how many of 1,000 schedules miss it

The rules by their ids are in docs/design/rules.md.
"""

from __future__ import annotations

from tests.simulation.rules import flow, sessions, sockets, work
from tests.simulation.rules.rule import Rule

RULES: tuple[Rule, ...] = (*sessions.RULES, *work.RULES, *flow.RULES, *sockets.RULES)
