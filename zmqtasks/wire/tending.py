"""TEND and TENDED as headers and back: what is done with the queues of a ventilator.

Owns their keys. TENDED has a body, the arguments of what was pulled. Called by `codec` through its tables.
"""

from __future__ import annotations

from zmqtasks.messages import QueueCare, Tend, Tended
from zmqtasks.wire.fields import flag, integer, label
from zmqtasks.wire.values import Bodies, Header, Parts, member, session

_CARES = {care.value: care for care in QueueCare}


def encode_tend(message: Tend) -> Parts:
    """Return the header and the bodies of a TEND."""
    header = {"t": "tend", "s": message.session, "n": message.number, "d": message.care, "q": message.queue}
    return {**header, **({"m": message.most} if message.most else {})}, []


def decode_tend(header: Header, _: Bodies) -> Tend:
    """Return the TEND of a header."""
    return Tend(
        session=session(header),
        number=integer(header.get("n"), "n (number)", 1),
        care=member(header.get("d"), "d (care)", _CARES, str),
        queue=label(header.get("q"), "q (queue)"),
        most=integer(header.get("m", 0), "m (most)"),
    )


def encode_tended(message: Tended) -> Parts:
    """Return the header and the bodies of a TENDED."""
    return {
        "t": "tended",
        "s": message.session,
        "n": message.number,
        "w": message.waiting,
        "d": message.delayed,
        "p": message.paused,
        "k": message.taken,
        "l": len(message.lines),
    }, [message.lines]


def decode_tended(header: Header, bodies: Bodies) -> Tended:
    """Return the TENDED of a header."""
    return Tended(
        session=session(header),
        number=integer(header.get("n"), "n (number)", 1),
        waiting=integer(header.get("w"), "w (waiting)"),
        delayed=integer(header.get("d"), "d (delayed)"),
        paused=flag(header.get("p"), "p (paused)"),
        taken=integer(header.get("k"), "k (taken)"),
        lines=bodies.take(header.get("l"), "l (lines)"),
    )
