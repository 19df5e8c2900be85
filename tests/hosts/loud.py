"""`zmqtasks` with its log on standard error: `python -m tests.hosts.loud worker ...`. It tells of sessions."""

from __future__ import annotations

import logging

from zmqtasks.cli import main

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(created).3f %(name)s %(message)s")
    main()
