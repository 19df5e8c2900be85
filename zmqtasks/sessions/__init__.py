"""The two ends of a session as shells: `Link`, opened by us, and `Guest`, opened by another peer.

Each owns the machine of a session, its timer and its way to the partner. Neither knows of tasks; a role is told what
happens as a `LinkRole` or a `GuestRole`, always in the loop's thread.
"""

from zmqtasks.sessions.end import GOODBYE_S as GOODBYE_S
from zmqtasks.sessions.end import Loop as Loop
from zmqtasks.sessions.end import Report as Report
from zmqtasks.sessions.end import Timer as Timer
from zmqtasks.sessions.guest import Guest as Guest
from zmqtasks.sessions.guest import GuestRole as GuestRole
from zmqtasks.sessions.link import UNKNOWN_SESSION as UNKNOWN_SESSION
from zmqtasks.sessions.link import Link as Link
from zmqtasks.sessions.link import LinkRole as LinkRole
