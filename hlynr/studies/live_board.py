"""Showing several trainings while they run: a table on a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from hlynr.runtime.progress import LINE_INTERVAL

if TYPE_CHECKING:
    from rich.table import Table


def tell_all(notes: deque[str], say: Callable[[str], None]) -> None:
    """Say every note once."""
    while notes:
        say(notes.popleft())


class Shown(Protocol):
    """What can be shown while it goes on."""

    def line(self) -> str:
        """Where it stands, for a log."""
        ...

    def table(self) -> Table:
        """Where it stands, for a terminal."""
        ...

    def tell(self, say: Callable[[str], None]) -> None:
        """Say what has happened since the last time."""
        ...


@contextmanager
def shown(board: Shown) -> Iterator[Callable[[], None]]:
    """Show the board on standard error; what it gives is to be called again and again meanwhile."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        with Live(get_renderable=board.table, console=console, refresh_per_second=2):
            yield lambda: board.tell(lambda note: console.print(note, markup=False, highlight=False))
    else:
        log = _Log(board, sys.stderr)
        yield log.tell
        log.line()


class _Log:
    """A line for everything that happens, one about the whole every half minute, one at the end."""

    def __init__(self, board: Shown, stream: TextIO) -> None:
        self._board, self._stream = board, stream
        self._next = 0.0

    def tell(self) -> None:
        self._board.tell(self._print)
        if time.monotonic() >= self._next:
            self.line()

    def line(self) -> None:
        self._next = time.monotonic() + LINE_INTERVAL
        self._print(self._board.line())

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
