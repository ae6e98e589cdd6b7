"""Following a training: a view that redraws itself on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from hlynr.records.training import TrainingStatus
from hlynr.report.status import news, now
from hlynr.report.training import TrainingView

if TYPE_CHECKING:
    from rich.console import Console

INTERVAL = 1.0
"""[s] between two looks."""
PATIENCE = 30.0
"""[s] to wait for a status that is not there for the moment, as while another training begins in its folder."""

Look = Callable[[], TrainingStatus | None]


def follow(look: Look, baseline: float) -> None:
    """Show a training until it ends or Ctrl-C.

    On a terminal the view takes the whole screen and is left there in full at the end; elsewhere it is printed once,
    then a line for every evaluation that follows, and one for the end.
    """
    from rich.console import Console

    console = Console()
    show = _redraw if sys.stdout.isatty() and not console.is_dumb_terminal else _tell
    show(console, looks(look), baseline)


def looks(look: Look) -> Iterator[TrainingStatus]:
    """A status every `INTERVAL` until one is the last; ends, too, when there has been none for `PATIENCE`."""
    heard = time.monotonic()
    while time.monotonic() - heard < PATIENCE:
        status = look()
        if status is not None:
            heard = time.monotonic()
            yield status
            if status.state != "running":
                return
        time.sleep(INTERVAL)


def _redraw(console: Console, statuses: Iterator[TrainingStatus], baseline: float) -> None:
    from rich.live import Live

    newest = None
    with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        for newest in statuses:
            live.update(TrainingView(newest, baseline, now(), fit=True), refresh=True)
    if newest is not None:
        console.print(TrainingView(newest, baseline, now()))


def _tell(console: Console, statuses: Iterator[TrainingStatus], baseline: float) -> None:
    shown = None
    with suppress(KeyboardInterrupt):
        for status in statuses:
            if shown is None or shown.lineage.id != status.lineage.id:
                console.print(TrainingView(status, baseline, now()))
            else:
                for line in news(shown, status, now()):
                    print(line, flush=True)
            shown = status
