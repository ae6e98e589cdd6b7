"""What is shown of several processes while they run: a table on a terminal, lines in a log."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from hlynr.runtime.errors import UserError
from hlynr.runtime.progress import LINE_INTERVAL

TEXT_COLUMNS = ("run", "state")
"""Aligned left; all others hold numbers."""


class LiveBoard:
    """State of the processes of a pool: written by its threads, read by the one that shows it."""

    restart = "another process takes over"
    """What happens after a crash."""

    def __init__(self) -> None:
        self.notes: deque[str] = deque()
        """Events that have not been printed yet."""

    def progress(self) -> int:
        """Grows with the work done: the pool restarts a crashing process more often while this grows."""
        return 0

    def started(self, name: str) -> None:
        """Called when a process starts."""

    def failed(self, name: str, error: UserError) -> None:
        """Called when a process is not restarted."""
        raise NotImplementedError

    def ended(self, name: str) -> None:
        """Called when a process has done its work."""

    def refresh(self) -> None:
        """Called before each output."""

    def line(self) -> str:
        """The state in one line."""
        raise NotImplementedError

    def title(self) -> str:
        """Of the table."""
        return self.line()

    def rows(self) -> list[dict[str, str]]:
        """Of the table, by column."""
        raise NotImplementedError

    def table(self) -> Table:
        """The state as a table."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title_justify="left", title=self.title())
        rows = self.rows()
        for key in rows[0] if rows else ():
            table.add_column(key, justify="left" if key in TEXT_COLUMNS else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row.values())
        return table

    def report(self, say: Callable[[str], None]) -> None:
        """Say each new event once."""
        self.refresh()
        while self.notes:
            say(self.notes.popleft())


@contextmanager
def shown(board: LiveBoard) -> Iterator[Callable[[], None]]:
    """Show the board on standard error; the caller calls the yielded function repeatedly meanwhile.

    A log has a line for every event, one for the whole every half minute, and one at the end.
    """
    terminal, following = sys.stderr.isatty(), 0.0
    console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=not terminal)

    def update() -> None:
        nonlocal following
        board.report(console.print)
        if not terminal and time.monotonic() >= following:
            following = time.monotonic() + LINE_INTERVAL
            console.print(board.line())

    if terminal:
        with Live(get_renderable=board.table, console=console, refresh_per_second=2):
            yield update
    else:
        yield update
        console.print(board.line())
