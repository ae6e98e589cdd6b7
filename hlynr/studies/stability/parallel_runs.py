"""The runs of a stability study, or of a confirmation, each in a process of its own, and how they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from hlynr.records.stability import StabilityRun
from hlynr.records.training import TrainProgress, clock, percent
from hlynr.report import text
from hlynr.runtime.errors import TrainingError, UserError
from hlynr.studies import process_pool
from hlynr.studies.live_board import LiveBoard
from hlynr.studies.process_pool import Task
from hlynr.studies.stability.assignments import RECORD, Assignment, finished, longest_first
from hlynr.studies.stability.training import COMMAND

MESSAGES = "messages.log"
"""In a run's folder: the standard error of its process."""


@dataclass
class Row:
    """One run, and the observer of its training."""

    run: Assignment
    state: Literal["waiting", "running", "done", "FAILED"] = "waiting"
    newest: TrainProgress | None = None
    record: StabilityRun | None = None

    def progress(self, progress: TrainProgress) -> None:
        self.newest = progress

    @property
    def speed(self) -> float | None:
        """Timesteps per second; None while unknown."""
        known = self.record or self.newest
        return known.timesteps_per_second or None if known else None

    @property
    def remaining(self) -> float:
        """Timesteps."""
        budget = self.run.config.train.timesteps
        return 0 if self.record else max(budget - (self.newest.timesteps if self.newest else 0), 0)

    def figures(self) -> dict[str, str]:
        """One line of the table."""
        budget = self.run.config.train.timesteps
        success = self.record.final_success if self.record else self.newest.success_rate if self.newest else None
        best = self.record.best_success if self.record else self.newest.best_success if self.newest else None
        eta = self.newest.eta_seconds if self.newest and self.state == "running" else None
        return {
            "run": self.run.name,
            "state": self.state,
            "trained": f"{1 - self.remaining / budget:.0%} of {text.timesteps(budget)}",
            "success": percent(success),
            "best": percent(best),
            "timesteps/s": f"{self.speed:,.0f}" if self.speed else "-",
            "ETA": "-" if eta is None else clock(eta),
        }


class StabilityBoard(LiveBoard):
    """All runs of a study, ``workers`` at a time."""

    restart = "it resumes from its last checkpoint"

    def __init__(self, runs: Sequence[Assignment], workers: int, name: str = "Stability study") -> None:
        super().__init__()
        self._name, self.workers = name, workers
        self.by_name = {run.name: Row(run) for run in runs}
        self.missing: dict[str, str] = {}
        """By run, why it has no record."""

    def started(self, name: str) -> None:
        self.by_name[name].state = "running"

    def ended(self, name: str) -> None:
        record = StabilityRun.read(self.by_name[name].run.out / RECORD)
        self.done(record)
        self.notes.append(
            f"{name} is done: success {record.final_success:.1%} at the end, {record.peak_success:.1%} at its "
            f"peak, {record.heldout_success_rate:.1%} on the held-out engagements"
        )

    def done(self, record: StabilityRun) -> None:
        """A run has ended, now or before this command."""
        row = self.by_name[record.name]
        row.record, row.state = record, "done"

    def failed(self, name: str, error: UserError) -> None:
        self.by_name[name].state = "FAILED"
        self.missing[name] = str(error)
        self.notes.append(f"{name} failed: {error}")

    def eta(self) -> float:
        """Seconds until all runs end at the speeds known so far; infinite before there are any."""
        seconds = [self._seconds(row) for row in self.by_name.values() if row.state in ("waiting", "running")]
        return max(max(seconds), sum(seconds) / self.workers) if seconds else 0.0

    def _seconds(self, row: Row) -> float:
        """At its own speed, at that of its strategy, or at that of all."""
        known = [other for other in self.by_name.values() if other.speed]
        strategy = row.run.config.run.strategy
        alike = [other for other in known if other.run.config.run.strategy == strategy]
        speeds = [other.speed or 0.0 for other in ([row] if row.speed else alike or known)]
        return row.remaining / fmean(speeds) if speeds else float("inf")

    def title(self) -> str:
        return f"{self._name}, {self.workers} at a time, ETA {clock(self.eta())}"

    def line(self) -> str:
        states = [row.state for row in self.by_name.values()]
        counts = ", ".join(f"{states.count(state)} {state}" for state in ("done", "running", "waiting", "FAILED"))
        shown = [row for row in self.rows() if row["state"] == "running"]
        running = "".join(f"; {row['run']} {row['trained']}, success {row['success']}" for row in shown)
        return f"{self._name}: {counts}; ETA {clock(self.eta())}{running}"

    def rows(self) -> list[dict[str, str]]:
        return [row.figures() for row in self.by_name.values()]


def complete(runs: Sequence[Assignment], board: StabilityBoard) -> list[StabilityRun]:
    """Train and judge the runs that have no record yet; returns the records, in the order of the runs.

    Raises:
        TrainingError: if no run has a record then.
        KeyboardInterrupt: after all processes have stopped cleanly.
    """
    for record in filter(None, map(finished, runs)):
        board.done(record)
    remaining = [run for run in longest_first(runs) if board.by_name[run.name].record is None]
    if remaining:
        from hlynr.evaluation import judge

        judge.compile_kernels(remaining[0].config)  # before several processes at once would try to
        tasks = [Task(run.name, COMMAND, run, run.out / MESSAGES, [board.by_name[run.name]]) for run in remaining]
        process_pool.run(tasks, board.workers, board)
    records = [row.record for row in board.by_name.values() if row.record]
    if not records:
        raise TrainingError("; ".join(f"{name}: {reason}" for name, reason in board.missing.items()))
    return records
