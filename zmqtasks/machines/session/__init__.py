"""One session between two peers, as two halves: `Outgoing` at the initiator, `Incoming` at the acceptor.

Owns sequence numbers, acknowledgement, retransmission and liveness. Bulk messages go one way, from the initiator to
the acceptor; Status goes both ways. Never opens a message beyond its number, never judges what a message means.
Called by `sessions/`, and by the simulation.

A ZeroMQ PUSH loses a contiguous run of messages when a peer dies or a connection resets, and never reorders within a
connection. So a missing number means a lost run, and sending everything again from there (go-back-N) is exact and
cheap. Source: measured, docs/design/protocol.md.

    initiator:  OPENING --Status echoes the session--> UP <--any Status-- SUSPECT (3 s silent)
                UP or SUSPECT --10 s silent | new incarnation | bye | its process has ended--> CLOSED
                any --reject--> CLOSED
    acceptor:   OPEN --silent for the lease | bye | its process has ended--> CLOSED
"""

from __future__ import annotations

from zmqtasks.machines.session.incoming import Incoming
from zmqtasks.machines.session.moves import (
    BulkReceived,
    Closed,
    Command,
    Deliver,
    Event,
    Heard,
    HelloReceived,
    LeaveRequested,
    Offered,
    Opened,
    PartnerEnded,
    Processed,
    RequestReceived,
    SendHello,
    SendStatus,
    StatusReceived,
    Suspected,
    Transmit,
)
from zmqtasks.machines.session.outgoing import Outgoing
from zmqtasks.machines.session.silence import State, Timing

__all__ = [
    "BulkReceived",
    "Closed",
    "Command",
    "Deliver",
    "Event",
    "Heard",
    "HelloReceived",
    "Incoming",
    "LeaveRequested",
    "Offered",
    "Opened",
    "Outgoing",
    "PartnerEnded",
    "Processed",
    "RequestReceived",
    "SendHello",
    "SendStatus",
    "State",
    "StatusReceived",
    "Suspected",
    "Timing",
    "Transmit",
]
