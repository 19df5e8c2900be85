"""Frames to messages: what every way into a peer does with a frame, whatever it came through.

Owns the count of what was malformed. Judges no message. Called by `inbox.py` and `local.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.messages import Message
from zmqtasks.options import Limits
from zmqtasks.wire import codec
from zmqtasks.wire.loans import LoanLost, borrow_by_name

logger = logging.getLogger(__name__)


class Intake:
    """Decode frames and hand the messages on.

    Args:
        limits: of one message.
        on_message: gets each decoded message.
    """

    def __init__(self, limits: Limits, on_message: Callable[[Message], None]) -> None:
        self.malformed = 0
        self.limits = limits
        self._on_message = on_message
        self._debug = logger.isEnabledFor(logging.DEBUG)

    def take(self, frame: bytes | memoryview) -> None:
        """Take one frame; a malformed one is counted, and that is all."""
        try:
            message = codec.decode(frame, self.limits, borrow_by_name)
        except LoanLost as error:
            # Either its session is over, or it is told again: nothing that is still wanted was taken back.
            logger.debug("< dropped: %s", error)
            return
        except RemoteProtocolError as error:
            self.reject(str(error))
            return
        if self._debug:
            logger.debug("< %s", type(message).__name__)
        self._on_message(message)

    def reject(self, what: str) -> None:
        """Count a malformed frame; say so at 1, 10, 100, ... lest a stranger fill our log."""
        self.malformed += 1
        if str(self.malformed).rstrip("0") == "1":
            logger.warning("ignored %d malformed frame(s); the last: %s", self.malformed, what)
