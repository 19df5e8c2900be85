"""Messages in one line each, for the story of a simulation.

Owns the wording. Called by the fake network, where somebody listens.
"""

from __future__ import annotations

from zmqtasks.messages import Hello, Message, PeerState, Results, Status, Stored, Tasks


def describe(message: Message) -> str:
    """Return a message in one line, for a story."""
    name = type(message).__name__
    match message:
        case Hello():
            return f"{name} #{message.session.number} from a {message.role}"
        case Status():
            have = "" if message.have is None else f" have={[tuple(held) for held in message.have]}"
            state = "" if message.state is PeerState.UP else f" {message.state} {message.reason}"
            return f"{name} #{message.session.number} cum={message.cum}{' gap' * message.gap}{state}{have}"
        case Tasks():
            parts = [f"{c.job}[{c.start}..{c.stop})@{c.attempt}" for c in message.chunks]
            parts += [f"end of {job}" for job in message.ended]
        case Results():
            parts = [f"{o.kind.name} {o.job}[{o.start}..{o.stop})@{o.attempt}" for o in message.outcomes]
        case Stored():
            parts = [f"{s.kind.name} {s.job}[{s.start}..{s.stop})@{s.attempt}" for s in message.settled]
        case _:
            return repr(message)
    return f"{name} #{message.session.number} seq={message.seq} {' '.join(parts)}"
