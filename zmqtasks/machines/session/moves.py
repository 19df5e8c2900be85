"""Moves of a session: what each half of one is told, and what it says.

Owns the vocabulary and no behaviour: events are facts in the past tense, commands imperatives. `outgoing.py` and
`incoming.py` take the one and give the other; the ends in `sessions/` stand on the other side.
"""

from __future__ import annotations

from zmqtasks.messages import Bulk, PeerState, Status
from zmqtasks.records import Value

# Events


class Offered(Value):
    """The initiator's role has a bulk message to send; the session numbers it."""

    message: Bulk


class StatusReceived(Value):
    """A Status about this session came from the partner."""

    status: Status


class BulkReceived(Value):
    """A numbered message came from the initiator."""

    message: Bulk


class HelloReceived(Value):
    """The initiator asks (again) for an echo."""


class RequestReceived(Value):
    """A request that is not numbered came from the initiator: it has heard us."""


class Processed(Value):
    """The acceptor's role is done with all messages up to `seq`: they may be acknowledged."""

    seq: int


class LeaveRequested(Value):
    """This side ends the session in order."""


class PartnerEnded(Value):
    """The partner's process is known to be gone, and what it had sent was read."""


Event = (
    Offered
    | StatusReceived
    | BulkReceived
    | HelloReceived
    | RequestReceived
    | Processed
    | LeaveRequested
    | PartnerEnded
)

# Commands


class SendHello(Value):
    """Send a Hello for this session."""


class SendStatus(Value):
    """Send a Status; `full` asks for the inventory as well."""

    full: bool
    state: PeerState = PeerState.UP


class Transmit(Value):
    """Send these numbered messages on the bulk connection, in this order."""

    messages: tuple[Bulk, ...]


class Deliver(Value):
    """Give this message to the role: it is the next one in order, and comes once."""

    message: Bulk


class Opened(Value):
    """The session is up; `status` is the first echo."""

    status: Status


class Heard(Value):
    """A later Status of the partner: window, inventory, load, state."""

    status: Status


class Suspected(Value):
    """Nothing came from the partner for a while: no new work for it."""


class Closed(Value):
    """The session is over.

    `unacked` is what the partner never acknowledged, in order; `died` is True where the partner's process is known
    to be gone; `rejected` carries the partner's reason where it refused us.
    """

    reason: str
    died: bool = False
    rejected: bool = False
    unacked: tuple[Bulk, ...] = ()


Command = SendHello | SendStatus | Transmit | Deliver | Opened | Heard | Suspected | Closed
