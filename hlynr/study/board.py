"""How the runs of the study stand, for those who wait: a table on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from hlynr.observers import LINE_INTERVAL, TrainProgress, clock
from hlynr.report import text
from hlynr.study.runs import Assignment
from hlynr.study_records import StudyRun

if TYPE_CHECKING:
    from rich.table import Table


@dataclass
class Row:
    """One run as it stands; watches its training."""

    name: str
    strategy: str
    budget: int
    state: Literal["waiting", "running", "done", "FAILED"] = "waiting"
    newest: TrainProgress | None = None
    record: StudyRun | None = None

    def metrics(self, timesteps: int, values: Mapping[str, float]) -> None:
        """Not shown: the table keeps to the few figures of `TrainProgress`."""

    def progress(self, progress: TrainProgress) -> None:
        self.newest = progress

    @property
    def speed(self) -> float | None:
        """Timesteps per second; None while unknown."""
        known = self.record or self.newest
        return known.timesteps_per_second or None if known else None

    @property
    def share(self) -> float:
        """Of the budget that is spent."""
        if self.record:
            return 1.0
        return min(self.newest.timesteps / self.budget, 1.0) if self.newest else 0.0

    def figures(self) -> dict[str, str]:
        """One line of the table."""
        success = self.record.final_success if self.record else self.newest.success_rate if self.newest else None
        best = self.record.best_success if self.record else self.newest.best_success if self.newest else None
        left = self.newest.eta_seconds if self.newest and self.state == "running" else None
        return {
            "run": self.name,
            "state": self.state,
            "trained": f"{self.share:.0%} of {text.timesteps(self.budget)}",
            "success": "-" if success is None else f"{success:.1%}",
            "best": "-" if best is None else f"{best:.1%}",
            "timesteps/s": f"{self.speed:,.0f}" if self.speed else "-",
            "ETA": clock(left) if left is not None else "-",
        }


class Board:
    """All runs; written to by the workers' threads, read by the one that shows it."""

    def __init__(self, runs: Sequence[Assignment], workers: int, title: str = "Stability study") -> None:
        self.title = title
        self.rows = {run.name: Row(run.name, run.config.run.strategy, run.config.train.timesteps) for run in runs}
        self.workers = workers
        self.missing: dict[str, str] = {}
        """By run, why it has come to no end."""
        self.notes: deque[str] = deque()
        """What has happened and has not been told yet."""

    def done(self, record: StudyRun, *, now: bool = True) -> None:
        """A run has come to its end, ``now`` or in an earlier try of the study."""
        row = self.rows[record.name]
        row.record, row.state = record, "done"
        if now:
            self.notes.append(
                f"{row.name} is done: success {record.final_success:.1%} at the end, {record.peak_success:.1%} at its "
                f"peak, {record.heldout_success_rate:.1%} on the held-out engagements"
            )

    def failed(self, name: str, reason: str) -> None:
        """A run is given up."""
        self.rows[name].state = "FAILED"
        self.missing[name] = reason
        self.notes.append(f"{name} failed: {reason}")

    def eta(self) -> float:
        """Seconds until all have ended at the speeds seen so far; infinite before there are any."""
        left = [self._left(row) for row in self.rows.values() if row.state in ("waiting", "running")]
        return max(max(left), sum(left) / self.workers) if left else 0.0

    def _left(self, row: Row) -> float:
        alike = [other.speed for other in self.rows.values() if other.strategy == row.strategy and other.speed]
        speeds = alike or [other.speed for other in self.rows.values() if other.speed]
        return (1.0 - row.share) * row.budget / (row.speed or fmean(speeds)) if speeds else float("inf")

    def line(self) -> str:
        """Where the study stands, for a log."""
        states = [row.state for row in self.rows.values()]
        counts = ", ".join(f"{states.count(state)} {state}" for state in ("done", "running", "waiting", "FAILED"))
        shown = (row.figures() for row in self.rows.values() if row.state == "running")
        running = "; ".join(f"{figures['run']} {figures['trained']}, success {figures['success']}" for figures in shown)
        return f"{self.title}: {counts}; ETA {clock(self.eta())}" + (f"; {running}" if running else "")

    def table(self) -> Table:
        """Where the study stands, for a terminal."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title_justify="left")
        table.title = f"{self.title}, {self.workers} at a time, ETA {clock(self.eta())}"
        lines = [row.figures() for row in self.rows.values()]
        for key in lines[0]:
            table.add_column(key, justify="left" if key in ("run", "state") else "right", no_wrap=True)
        for line in lines:
            table.add_row(*line.values())
        return table

    def tell(self, say: Callable[[str], None]) -> None:
        """Say what has happened since the last time."""
        tell_all(self.notes, say)


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
