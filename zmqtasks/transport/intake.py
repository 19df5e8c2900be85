"""Frames to messages: what every way into a peer does with a frame, whatever it came through.

Owns the count of what was useless: malformed, or of no session that is here. Judges no message. Called by `inbox.py`
and `local.py`, which slow down whoever sends more of that than `machines/patience.py` allows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.machines.authority import Member, objection, signed
from zmqtasks.machines.patience import Patience
from zmqtasks.messages import Message
from zmqtasks.options import Limits
from zmqtasks.transport.refusals import Refusals
from zmqtasks.wire import codec
from zmqtasks.wire.loans import LoanLost, borrow_by_name

logger = logging.getLogger(__name__)

OnMessage = Callable[[Message, Member | None], object]


class Intake:
    """Decode frames and hand the messages on.

    Args:
        limits: of one message.
        on_message: gets each decoded message, and whose key of its own was proved for it, or None where that was not
            asked for; returns False where nobody here wants it.
        clock: returns monotonic seconds.
        refusals: told who has sent what his key may not.
    """

    def __init__(
        self, limits: Limits, on_message: OnMessage, clock: Callable[[], float], refusals: Refusals | None = None
    ) -> None:
        self.malformed = self.strays = 0
        self.limits = limits
        self._on_message = on_message
        self._clock = clock
        self._refusals = refusals or Refusals(clock)
        self._patience = Patience(clock())
        self._debug = logger.isEnabledFor(logging.DEBUG)

    def take(self, frame: bytes | memoryview, sender: Member | None = None) -> bool:
        """Take one frame; return False where its sender is to be slowed. A useless one is counted, and that is all."""
        try:
            message = codec.decode(frame, self.limits, borrow_by_name)
        except LoanLost as error:
            # Either its session is over, or it is told again: nothing that is still wanted was taken back.
            logger.debug("< dropped: %s", error)
            return self._spend()
        except RemoteProtocolError as error:
            return self.reject(str(error))
        if self._debug:
            logger.debug("< %s", type(message).__name__)
        if sender is not None:
            if why := objection(sender, message):
                return self.refuse(sender.name, why)
            message = signed(message, sender)
        if self._on_message(message, sender) is False:
            self.strays += 1
            return self._spend()
        return True

    def reject(self, what: str) -> bool:
        """Count a malformed frame; return False where its sender is to be slowed.

        It is said at 1, 10, 100, ... lest a stranger fill our log.
        """
        self.malformed += 1
        if str(self.malformed).rstrip("0") == "1":
            logger.warning("ignored %d malformed frame(s); the last: %s", self.malformed, what)
        return self._spend()

    def refuse(self, who: str, why: str) -> bool:
        """Count what somebody may not send; return False where he is to be slowed."""
        self.strays += 1
        self._refusals.tell(who, why)
        return self._spend()

    def _spend(self) -> bool:
        return self._patience.spend(self._clock())
