"""How the runs of the study stand, for those who wait: a table on a terminal, a line now and then in a log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from hlynr.records.stability import StabilityRun
from hlynr.records.training import TrainProgress, clock
from hlynr.report import text
from hlynr.studies.live_board import tell_all
from hlynr.studies.stability.assignments import Assignment

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
    record: StabilityRun | None = None

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


class StabilityBoard:
    """All runs; written to by the workers' threads, read by the one that shows it."""

    def __init__(self, runs: Sequence[Assignment], workers: int, title: str = "Stability study") -> None:
        self.title = title
        self.rows = {run.name: Row(run.name, run.config.run.strategy, run.config.train.timesteps) for run in runs}
        self.workers = workers
        self.missing: dict[str, str] = {}
        """By run, why it has come to no end."""
        self.notes: deque[str] = deque()
        """What has happened and has not been told yet."""

    def done(self, record: StabilityRun, *, now: bool = True) -> None:
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
