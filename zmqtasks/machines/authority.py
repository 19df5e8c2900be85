"""Which key may say what: the roles of a key against the messages of the protocol.

Owns the table. Knows no key by itself and no socket. Called by `transport/intake.py` for each message of a peer with a
key of its own; where members share one, and between programs of one user on one host, everybody may say everything.
"""

from __future__ import annotations

from enum import StrEnum

from zmqtasks.doors import with_key
from zmqtasks.messages import (
    Address,
    Cancel,
    Errands,
    Hello,
    Message,
    Output,
    PeerId,
    PeerState,
    Query,
    Results,
    Role,
    Status,
    Stored,
    Tasks,
    Tend,
    Tended,
    ventilator_of,
)
from zmqtasks.records import Value, replace


class KeyRole(StrEnum):
    """What the holder of a key may be."""

    SUBMIT = "submit"
    """A client or a ventilator."""
    NODE = "node"
    SINK = "sink"
    ADMIN = "admin"
    """Somebody who looks at nodes and sinks, tells them to drain or to stop, and tends queues."""


class Member(Value):
    """A key that is known here, what it is called here, and what it may be.

    `key` is the public key in hexadecimal digits.
    """

    name: str
    key: str
    roles: frozenset[KeyRole]


_OPENS = {
    Role.VENTILATOR: {KeyRole.SUBMIT},
    Role.NODE: {KeyRole.NODE},
    Role.SINK: {KeyRole.SINK},
    Role.OBSERVER: {KeyRole.ADMIN, KeyRole.SUBMIT},
    Role.STEWARD: {KeyRole.ADMIN},
}
_SENDS: dict[type[Message], set[KeyRole]] = {
    Status: set(KeyRole),
    Tasks: {KeyRole.SUBMIT},
    Cancel: {KeyRole.SUBMIT},
    Query: {KeyRole.SUBMIT},
    Results: {KeyRole.NODE, KeyRole.SUBMIT},  # a ventilator tells a standalone sink what it decided itself
    Output: {KeyRole.NODE},
    Errands: {KeyRole.NODE, KeyRole.SUBMIT},  # of a task to its home, and what it is answered
    Stored: {KeyRole.SINK},
    Tend: {KeyRole.ADMIN},
    Tended: {KeyRole.SUBMIT},
}
"""Who is not named here for a message may not send it; nor may anybody a message that is not named."""


def objection(member: Member, message: Message) -> str:
    """Return why a member may not send a message; "" where it may."""
    if isinstance(message, Hello):
        allowed, what = _OPENS.get(message.role, set()), f"open the session of a {message.role}"
    elif isinstance(message, Status) and message.state is PeerState.DRAIN:
        allowed, what = {KeyRole.NODE, KeyRole.ADMIN}, "ask a node to drain"  # a node says it of itself
    else:
        allowed, what = _SENDS.get(type(message), set()), f"send {type(message).__name__.upper()}"
    if not allowed.isdisjoint(member.roles):
        return ""
    return f"its key has no role but {', '.join(sorted(member.roles)) or 'none'}, and may not {what}"


def signed(message: Message, member: Member) -> Message:
    """Return a message whose sender is reached only where its key is proved, whatever address it gave."""
    if not isinstance(message, Hello | Status):
        return message
    peer, host, endpoints = message.address
    return replace(message, address=Address(peer, host, tuple(with_key(e, member.key) for e in endpoints)))


def names_only_own(message: Message, peer: PeerId) -> bool:
    """Tell whether a message of a ventilator speaks of its own jobs alone: others know their ids, or may guess them."""
    match message:
        case Tasks(_, _, jobs, chunks, ended):
            named = {*(job.id for job in jobs), *(chunk.job for chunk in chunks), *ended}
        case Results(_, _, outcomes):
            named = {outcome.job for outcome in outcomes}
        case Cancel(_, ranges):
            named = {range_.job for range_ in ranges}
        case Query(_, asked):
            named = set(asked)
        case _:
            return True
    return all(ventilator_of(job) == peer for job in named)
