"""Which nodes announce themselves on the local network, by what was heard of them and when.

Owns a table of bounded size. Knows no socket, and trusts nobody: who is announced is asked, and has to prove the key of
the mesh. Called by `beacon.py`.
"""

from __future__ import annotations

SILENT_S = 10.0
"""Who was not heard for so long is not there: a node announces itself each second."""
MOST = 1000
"""Endpoints that are believed in at a time: whoever floods the network shall not fill our memory."""


class Beacons:
    """What is announced; see the module."""

    def __init__(self) -> None:
        self._heard_at: dict[str, float] = {}

    def hear(self, endpoint: str, now: float) -> bool:
        """Hear an endpoint; tell whether it is new."""
        is_new = endpoint not in self._heard_at
        if is_new and len(self._heard_at) >= MOST:
            return False
        self._heard_at[endpoint] = now
        return is_new

    def forget(self, now: float) -> bool:
        """Forget who was silent for long; tell whether there was anybody."""
        silent = [endpoint for endpoint, at in self._heard_at.items() if at + SILENT_S <= now]
        for endpoint in silent:
            del self._heard_at[endpoint]
        return bool(silent)

    def endpoints(self) -> tuple[str, ...]:
        """Return what is announced now."""
        return tuple(sorted(self._heard_at))

    def __repr__(self) -> str:
        return f"<Beacons {', '.join(self.endpoints())}>"
