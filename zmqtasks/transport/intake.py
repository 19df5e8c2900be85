"""Frames to messages: what every way into a peer does with a frame, whatever it came through.

Owns the count of what was useless: malformed, or of no session that is here. Judges no message. Called by `inbox.py`
and `local.py`, which slow down whoever sends more of that than `machines/patience.py` allows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.machines.patience import Patience
from zmqtasks.messages import Message
from zmqtasks.options import Limits
from zmqtasks.wire import codec
from zmqtasks.wire.loans import LoanLost, borrow_by_name

logger = logging.getLogger(__name__)


class Intake:
    """Decode frames and hand the messages on.

    Args:
        limits: of one message.
        on_message: gets each decoded message; returns False where nobody here wants it.
        clock: returns monotonic seconds.
    """

    def __init__(self, limits: Limits, on_message: Callable[[Message], object], clock: Callable[[], float]) -> None:
        self.malformed = self.strays = 0
        self.limits = limits
        self._on_message = on_message
        self._clock = clock
        self._patience = Patience(clock())
        self._debug = logger.isEnabledFor(logging.DEBUG)

    def take(self, frame: bytes | memoryview) -> bool:
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
        if self._on_message(message) is False:
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

    def _spend(self) -> bool:
        return self._patience.spend(self._clock())
