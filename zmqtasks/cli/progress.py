"""One line on a terminal that tells how far a command is; nothing at all in a pipe.

Owns the display and its arithmetic: rate over the last seconds, time left. Reads a `Tally`, changes nothing. Called by
`job.py` and `sink.py`.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import click

from zmqtasks.cli.tally import Tally

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

REFRESHES_PER_SECOND = 8
RATE_S = 5.0
"""The rate is that of about the last so many seconds."""


class Display:
    """Show progress while it is entered, if standard error is a terminal.

    Args:
        tally: returns what has come of the tasks.
        load: returns how many workers are busy, and how many there are; None where that is not known.
        shown: False for no display, whatever standard error is.
        partial: returns how much of the tasks that run is done, in tasks.
    """

    def __init__(
        self,
        tally: Callable[[], Tally],
        load: Callable[[], tuple[int, int]] | None = None,
        *,
        shown: bool = True,
        partial: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._tally = tally
        self._load = load
        self._partial = partial
        self._shown = shown and sys.stderr.isatty()
        self._live: Live | None = None
        self._began = time.monotonic()
        self._samples = deque([(self._began, 0)])

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since this was made."""
        return time.monotonic() - self._began

    def __enter__(self) -> Self:
        if self._shown:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(stderr=True),
                get_renderable=self._line,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()
        return self

    def show(self, line: str) -> None:
        """Print a line of text above the display; called from any thread, also when the display is not entered."""
        if self._live:
            from rich.text import Text

            self._live.console.print(Text(line), soft_wrap=True)
        else:
            click.echo(line, err=True)

    def __exit__(self, *exc_info: object) -> None:
        if self._live:
            self._live.stop()

    def _line(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        tally = self._tally()
        total = tally.total
        bar = ProgressBar(total or 1, self.completed(tally), width=30, pulse=total is None)
        line = Table.grid(padding=(0, 2))
        line.add_row(bar, *self.words(tally, time.monotonic()))
        return line

    def completed(self, tally: Tally) -> float:
        """Return how far the bar is, in tasks; those that run count by what they told of their progress."""
        return min(tally.ended + self._partial(), tally.total) if tally.total else 0.0

    def words(self, tally: Tally, now: float) -> list[str]:
        """Return the parts of the line beside the bar, as of `now` (monotonic seconds)."""
        total, rate = tally.total, self._rate(tally.ended, now)
        words = [f"{tally.ended:,}" + ("" if total is None else f"/{total:,}")]
        if tally.failed:
            words.append(f"[red]{tally.failed:,} failed[/red]")
        ended, spawned = tally.spawned()
        if spawned:
            words.append(f"+{ended:,}/{spawned:,} calls of tasks")
        words.append(f"{rate:,.0f}/s" if rate >= 10 or not rate else f"{rate:.2g}/s")
        if total is not None and rate:
            words.append(f"{_duration((total - tally.ended) / rate)} left")
        if self._load is not None:
            busy, workers = self._load()
            words.append(f"{busy}/{workers} workers busy")
        return words

    def _rate(self, ended: int, now: float) -> float:
        """Return how many tasks ended a second, lately."""
        self._samples.append((now, ended))
        while len(self._samples) > 2 and now - self._samples[1][0] >= RATE_S:
            self._samples.popleft()
        then, before = self._samples[0]
        return (ended - before) / (now - then) if now > then else 0.0


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
